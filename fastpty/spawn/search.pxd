"""Executes a program, in the child: searches the PATH of its environment for one without a slash.

As in fastpty/spawn/child.pxd, no code here allocates, locks or uses Python.
"""

from libc.errno cimport EACCES, ENAMETOOLONG, ENOENT, ENOTDIR, errno
from libc.string cimport memcpy, strchr, strlen, strncmp

from fastpty.system.linux cimport execve

cdef enum:
    NAME_BYTES_MOST = 255             # NAME_MAX and PATH_MAX of linux/limits.h
    FILE_BYTES_MOST = 4096            # with the NUL at the end


cdef inline const char *child_join_path(const char *folders, const char *name, char *file) noexcept nogil:
    """Writes the path of `name` in the first of `folders` into `file`. An empty folder is the current directory.

    If the path is too long, `file` is empty. Returns the other folders, or NULL.
    """
    cdef size_t size = 0
    cdef size_t name_bytes = strlen(name) + 1
    while folders[size] != 0 and folders[size] != c':':
        size += 1
    file[0] = 0
    if size + 1 + name_bytes <= FILE_BYTES_MOST:
        memcpy(file, folders, size)
        file[size] = c'/'
        memcpy(file + size + (size > 0), name, name_bytes)
    return folders + size + 1 if folders[size] != 0 else NULL


cdef inline const char *child_search_path(char **envp) noexcept nogil:
    """Returns the folders of the PATH of `envp`."""
    cdef int index = 0
    while envp[index] != NULL:
        if strncmp(envp[index], "PATH=", 5) == 0:
            return envp[index] + 5
        index += 1
    return b"/bin:/usr/bin"   # as execvp(3)


cdef inline void child_search(const char *program, char **argv, char **envp) noexcept nogil:
    """Executes the program from the first folder of PATH that has it, as execvp(3) does, but without sh(1) for scripts.

    Returns only if no folder has a file that can be executed, with errno set.
    """
    cdef char file[FILE_BYTES_MOST]
    cdef const char *folders = child_search_path(envp)
    cdef bint is_forbidden = False
    if strlen(program) > NAME_BYTES_MOST:
        (&errno)[0] = ENAMETOOLONG
        return
    while folders != NULL:
        folders = child_join_path(folders, program, file)
        execve(file, argv, envp)
        is_forbidden = is_forbidden or errno == EACCES
        if errno != EACCES and errno != ENOENT and errno != ENOTDIR:
            return
    if is_forbidden:
        (&errno)[0] = EACCES


cdef inline void child_execute(const char *program, char **argv, char **envp) noexcept nogil:
    """Executes the program. Returns only if that fails, with errno set."""
    if program[0] == 0 or strchr(program, c'/') != NULL:
        execve(program, argv, envp)
    else:
        child_search(program, argv, envp)
