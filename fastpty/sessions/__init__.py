"""Sessions: which program a client gets, in which environment and cgroup, and the log lines about it."""
