"""The supervisor and its workers: starting, replacing, stopping and reloading them, and the statistics.

Moving the bytes of sessions belongs to `relay`, and answering the relay's calls belongs to `sessions`. Reading the new
configuration for a reload belongs to `configuration`. Starting a gateway belongs here; what it does belongs to
`gateways`.
"""
