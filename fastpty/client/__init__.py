"""The `fastpty` command's side of a connection: its command line, the terminal, and the bytes both ways.

Nothing here loads code of the server, nor modules of the standard library that are slow to load, such as `socket`,
`signal`, `contextlib` and `re`: `tests/client/test_start.py` holds the list of what `fastpty connect` loads.
"""
