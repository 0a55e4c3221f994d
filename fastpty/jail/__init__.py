"""Entering the jail: the steps in their order, namespaces, containers, and giving up privileges.

Which program a session runs, as which user, belongs to `sessions`; starting it belongs to `spawn`. System calls belong
to `system`, and the actions of hooks belong to `hooks`.
"""
