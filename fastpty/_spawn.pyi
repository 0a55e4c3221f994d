def reserve() -> None:
    """Keeps two low descriptors of this process for spawn(), which then takes no longer with many descriptors open.

    To be called once, before there are many. Raises OSError where there is none left.
    """

def leave_keys() -> None:
    """Gives this thread, and those to come, an empty session keyring in the place of the one it has (keyrings(7)).

    For who gives up root: otherwise it goes on possessing root's keys. Nothing where the kernel has no keys or a filter
    forbids the call. Raises OSError where there is no room for it.
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
) -> tuple[int, int, int]:
    """Starts a program as the leader of a new session whose controlling terminal is a new pty.

    argv: the program's path (no search in PATH) and its arguments, at least one. environment: `NAME=value`, nothing
    else is passed on. directory: where it starts, None for where this process is. rows, columns: the window, 0 to
    65535. files: its RLIMIT_NOFILE, soft and hard. program: the path where it is not argv[0], as of a login shell.
    account: uid, gid and supplementary groups to become, for good, which needs root. The terminal then belongs to that
    user, the login uid (audit) is set, and unless it is root it has no capability and no better priorities than the
    default ones. no_new_privs: as PR_SET_NO_NEW_PRIVS (prctl(2)) has it. cgroup: a descriptor of the directory of the
    cgroup (version 2) that it is to be in; -1: where this process is. joins: descriptors of the cgroup.procs of cgroups
    (version 1 or 2) that it enters, open for writing. apart: the child may be held up, as by what it runs; see below.
    terminals: a descriptor of the directory that holds the `ptmx` to open, of a root that somebody else controls; -1:
    /dev/ptmx is opened.

    The child has descriptors 0, 1 and 2 on the terminal and no others, default signal dispositions and an empty
    mask. This process sleeps until the child runs its program (vfork(2)), so it never copies its memory. Not with an
    `account`, nor `apart`: then the child is on its own, tells what fails on its terminal and exits with 127. With an
    `account` it starts in / where it cannot enter its directory.

    Returns the pty master (non-blocking, close-on-exec), the pid, and a pidfd, all the caller's to close and reap.
    Raises OSError with a text for the person at the other end: no pty or descriptor left, no process allowed, the
    directory or program cannot be used.
    """
