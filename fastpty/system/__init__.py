"""System calls and kernel interfaces that other packages share. Nothing here knows what a router or a session is.

Starting a session's program belongs to `spawn`, and the order of the steps into a jail belongs to `jail`.
"""
