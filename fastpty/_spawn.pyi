from collections.abc import Callable

def reserve() -> None:
    """Reserves two low descriptors, so that spawn() does not become slower with many descriptors open.

    Call it once, before many are open. Raises OSError if no descriptor is left.
    """

def leave_keys() -> None:
    """Replaces this thread's session keyring with an empty one (keyrings(7)). Later threads inherit it.

    A process that gives up root needs this: otherwise it keeps access to root's keys. It does nothing if the kernel has
    no keys or a filter forbids the call. Raises OSError if there is no room for a keyring.
    """

def spawn(
    argv: list[bytes],
    environment: list[bytes],
    directory: bytes | None,
    rows: int,
    columns: int,
    files: tuple[int, int],
    *,
    program: bytes | None = None,
    account: tuple[int, int, list[int]] | None = None,
    no_new_privs: bool = False,
    cgroup: int = -1,
    apart: bool = False,
    joins: tuple[int, ...] = (),
    terminals: int = -1,
    complete: Callable[[int], tuple[bytes, list[bytes], list[bytes], bytes | None, tuple[int, int, list[int]]]]
    | None = None,
) -> tuple[int, int, int]:
    """Starts a program as the leader of a new session whose controlling terminal is a new pty.

    argv: the program's path (PATH is not searched) and its arguments, at least one.
    environment: the whole environment, as `NAME=value`.
    directory: the working directory, or None for this process's.
    rows, columns: the window size, 0 to 65535.
    files: RLIMIT_NOFILE, soft and hard.
    program: the path, if it is not argv[0], as for a login shell.
    account: uid, gid and supplementary groups to become permanently, which needs root. The terminal belongs to that
    user, and the login uid (audit) is set. Unless it is root, it has no capability and no raised priority.
    no_new_privs: sets PR_SET_NO_NEW_PRIVS (prctl(2)).
    cgroup: a descriptor of the directory of a version 2 cgroup to start in, or -1 for this process's.
    joins: descriptors of cgroup.procs, open for writing, of cgroups (version 1 or 2) to enter.
    apart: do not wait for the child, because somebody else may delay it; see below.
    terminals: a descriptor of the directory whose `ptmx` to open, in a foreign root, or -1 for /dev/ptmx.
    complete: called in the child, which is a copy of this process, with a descriptor of the terminal. It may block, and
    should close other descriptors first. What it returns replaces the arguments; an exception ends the child. Only with
    an `account`, whose uid must be the same.

    The child has only descriptors 0, 1 and 2, on the terminal, default signal dispositions and an empty mask. This
    process sleeps until the child executes the program, as after vfork(2), so its memory is never copied. With an
    `account` or `apart` it does not wait: the child writes failures to its terminal and exits with 127. With an
    `account` the child starts in / if it cannot enter its directory.

    Returns the pty master (non-blocking, close-on-exec), the pid, and a pidfd. The caller closes and reaps them.
    Raises OSError with a text for the client's user: no pty or descriptor left, no process allowed, or the directory or
    program cannot be used.
    """
