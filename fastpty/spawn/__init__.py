"""The C parts of `_spawn`: the child process until execve(2), clone3(2), and safe opening of files in foreign roots.

Which program a session runs, as which user and where, belongs to `sessions`. Children that run Python code belong to
`system`.
"""
