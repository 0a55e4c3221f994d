"""The C parts of `_spawn`: the child process until execve(2), clone3(2), and safe opening of files in foreign roots.

What a session runs is decided in `sessions`.
"""
