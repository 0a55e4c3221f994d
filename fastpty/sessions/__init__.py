"""What a client gets when it connects: the program, its environment, its cgroup, and the log of it."""
