"""Processes in front of the workers that end another protocol, such as TLS, and pass plain bytes on.

The TLS of one connection belongs to `net`. Starting and replacing a gateway belongs to `supervision`. Protocols that
the workers themselves parse belong to `wire`.
"""
