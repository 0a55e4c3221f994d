"""Listening: sockets, their files, inherited sockets, and the set of sockets that a router has."""
