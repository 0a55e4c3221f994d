"""The parts of the relay, which moves bytes between clients and terminals; fastpty/_relay.pyx is its door.

`.pxd` files hold its C part; `upcalls.py` says what it asks of Python. What a client may do and what runs for it is
decided in fastpty/sessions/ and fastpty/access/; how bytes on a connection are framed is in fastpty/wire/.
"""
