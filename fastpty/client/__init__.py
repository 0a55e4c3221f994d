"""The `fastpty` command's side of a connection: its command line, the terminal, and the bytes both ways.

Code of the server does not belong here, nor modules of the standard library that are slow to load, such as `socket`,
`signal`, `contextlib` and `re`: `tests/client/test_start.py` holds the list of what `fastpty connect` loads. The
protocols belong to `wire`; addresses and TLS belong to `net`.
"""
