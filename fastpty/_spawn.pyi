from collections.abc import Callable, Iterable
from typing import Self, final

def reserve() -> None:
    """Reserves two low descriptors, so that starts do not become slower with many descriptors open.

    Call it once, before many are open. Raises OSError if no descriptor is left.
    """

def leave_keys() -> None:
    """Replaces this thread's session keyring with an empty one (keyrings(7)). Later threads inherit it.

    A process that gives up root needs this: otherwise it keeps access to root's keys. It does nothing if the kernel has
    no keys or a filter forbids the call. Raises OSError if there is no room for a keyring.
    """

@final
class Command:
    """What a session runs. Immutable; one object can start any number of sessions.

    argv: the program's path and its arguments, at least one.
    environment: the whole environment, as `NAME=value`.
    directory: the working directory, or None for this process's.
    path: the program's path, if it is not argv[0], as for a login shell. If it has no slash, the child searches the
    PATH of the environment, as execvp(3) does.
    account: uid, gid and supplementary groups to become permanently, which needs root. The terminal belongs to that
    user, and the login uid (audit) is set. Unless it is root, it has no capability and no raised priority.
    needs_directory: if there is an account, the start fails if the directory cannot be entered.

    Raises ValueError if argv is empty.
    """

    def __new__(
        cls,
        argv: Iterable[bytes],
        environment: Iterable[bytes],
        directory: bytes | None = None,
        *,
        path: bytes | None = None,
        account: tuple[int, int, list[int]] | None = None,
        needs_directory: bool = False,
    ) -> Self: ...
    @property
    def argv(self) -> tuple[bytes, ...]: ...
    @property
    def environment(self) -> tuple[bytes, ...]: ...
    @property
    def directory(self) -> bytes | None: ...
    @property
    def path(self) -> bytes: ...
    @property
    def account(self) -> tuple[int, int, list[int]] | None: ...
    @property
    def needs_directory(self) -> bool: ...

@final
class Spawner:
    """Starts commands as leaders of new sessions, each with a new pty as its controlling terminal. Immutable.

    files: RLIMIT_NOFILE, soft and hard.
    no_new_privs: sets PR_SET_NO_NEW_PRIVS (prctl(2)).
    apart: do not wait for the child, because another user may delay it; see spawn().
    joins: descriptors of cgroup.procs, open for writing, of cgroups (version 1 or 2) to enter.
    terminals: a descriptor of a directory in a foreign root whose `ptmx` makes the terminals; -1 for /dev/ptmx.

    The descriptors must stay open. Raises ValueError for more than 32 of `joins`.
    """

    def __new__(
        cls,
        files: tuple[int, int],
        *,
        no_new_privs: bool = False,
        apart: bool = False,
        joins: tuple[int, ...] = (),
        terminals: int = -1,
    ) -> Self: ...
    def spawn(
        self,
        command: Command,
        window: tuple[int, int, int, int],
        *,
        cgroup: int = -1,
        report: int = -1,
        complete: Callable[[int], tuple[Command, Callable[[], int] | None]] | None = None,
    ) -> tuple[int, int, int]:
        """Starts the command on a new terminal.

        window: rows, columns, width and height in pixels, 0 to 65535.
        cgroup: a descriptor of the directory of a version 2 cgroup to start in, or -1 for this process's.
        report: the write end of a pipe for the child's StartReport (fastpty/spawn/report.pxd), or -1. With a report,
        this process does not wait for the child, as with `apart`.
        complete: called in the child, which is a copy of this process, with a descriptor of the terminal. It may block,
        and should close other descriptors first. The child runs the command that it returns; an exception ends the
        child. The returned command must have the same account's uid, or none as well. With the command it returns None,
        or what the child calls in place of the program, in its copy of this process, and whose result is the exit
        status. That needs a report.

        The child has only descriptors 0, 1 and 2, on the terminal, default signal dispositions and an empty mask. This
        process sleeps until the child executes the program, as after vfork(2), so its memory is never copied. With an
        account or `apart` it does not wait: the child writes failures to its terminal and exits with 127. With an
        account the child starts in / if it cannot enter its directory.

        Returns the pty master (non-blocking, close-on-exec), the pid, and a pidfd. The caller closes and reaps them.
        Raises OSError with a text for the client's user: no pty or descriptor is left, or no process is allowed. Raises
        its subclass ExecuteError if this process has waited for the child, and the child could not use its directory or
        execute the program.
        """
    def spawn_on_streams(
        self,
        command: Command,
        streams: tuple[int, int, int],
        *,
        cgroup: int = -1,
        report: int,
        complete: Callable[[int], tuple[Command, Callable[[], int] | None]] | None = None,
    ) -> tuple[int, int]:
        """Starts the command without a terminal, as the leader of a new session.

        streams: what becomes its standard input, output and error; they may be the same. The caller closes its copies.
        complete: as for spawn(), but it gets the standard error, and must leave all three open.

        When this process is killed, the kernel sends SIGHUP to the program (PR_SET_PDEATHSIG), unless the program has
        gained privileges. Returns the pid and a pidfd. Raises OSError as spawn() does.
        """
