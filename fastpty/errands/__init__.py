"""Processes that make system calls which another user's program could block for ever.

An example is the last close of a terminal. The decision that a call is such an errand belongs to `relay`. Children that
the router waits for belong to `system`.
"""
