"""The parts of the relay, which moves bytes between clients and terminals.

fastpty/_relay.pyx is its Python interface, the `.pxd` files are its C part, and `upcalls.py` declares the Python
methods that it calls. The decision whether a client is admitted belongs to `access`, and what runs for it belongs to
`sessions`. The framing of bytes on a connection belongs to `wire`.
"""
