"""Processes that make system calls which a stranger could block for ever, such as the last close of a terminal.

The decision that a call is such an errand belongs to `relay`. Children that the router waits for belong to `system`.
"""
