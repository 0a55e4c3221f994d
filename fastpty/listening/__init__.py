"""Listening on addresses: binding, socket files, their directories, and which sockets a router has."""
