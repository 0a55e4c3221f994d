"""Sessions: which program a client gets, in which environment and cgroup, and the log lines about it.

Whether the client may have one belongs to `access`. Starting the program belongs to `spawn`, and moving its bytes
belongs to `relay`.
"""
