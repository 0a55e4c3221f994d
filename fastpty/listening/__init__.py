"""Listening sockets: binding, socket files and their removal, sockets inherited from systemd or an old router.

What an address means belongs to `net`. Accepting clients belongs to `relay`, and admitting them belongs to `access`.
"""
