"""The hooks of a jail: parsing their values, and running them.

When a hook runs belongs to `jail`. The names of the options belong to `configuration`.
"""
