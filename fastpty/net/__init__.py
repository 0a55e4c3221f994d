"""Addresses and connections, for both ends: parsing of addresses, TCP options, TLS connections and their files.

Binding an address belongs to `listening`. The process that serves TLS belongs to `gateways`, and the framing of the
bytes belongs to `wire`.
"""
