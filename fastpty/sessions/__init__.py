"""Sessions: which program a client gets, in which environment and cgroup, and the log lines about it.

The rules about who may have a session belong to `access`. Starting the program belongs to `spawn`, and moving its bytes
belongs to `relay`.
"""
