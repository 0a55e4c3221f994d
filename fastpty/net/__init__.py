"""Addresses and connections, for both ends: what an address means, TCP options, TLS and its files."""
