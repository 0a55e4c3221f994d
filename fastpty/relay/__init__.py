"""The parts of the relay, which moves bytes between clients and terminals.

fastpty/_relay.pyx is its Python interface, the `.pxd` files are its C part, and `upcalls.py` declares the Python
methods that it calls. `access` decides whether a client is admitted, and `sessions` decides which program runs for it.
`wire` holds the framing of bytes on a connection.
"""
