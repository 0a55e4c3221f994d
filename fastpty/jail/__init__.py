"""Entering the jail: the steps in their order, namespaces, containers, and giving up privileges.

What a session runs, and as which user, belongs to `sessions`. System calls belong to `system`.
"""
