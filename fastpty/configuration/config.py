"""The configuration of a router, checked and typed. build.py makes it."""

from __future__ import annotations

from fastpty.net.tls_files import Identity
from fastpty.system.records import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastpty.configuration.entered import Entered
    from fastpty.hooks.actions import Hook
    from fastpty.hooks.waits import Wait
    from fastpty.log import Destination
    from fastpty.net.address import Address

# More than any machine has ptys; access/limits.py numbers seats up to it.
SESSIONS_MOST = 2**20

# The relay's bound (LISTENERS_MOST of relay/accept.pxd).
LISTENERS_MOST = 64

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Config:
    """The checked configuration: one attribute for each field of the table of options, and four more.

    Times are in seconds; None means no limit.
    uid, gid: None if the process keeps its own. socket_owner: its gid is -1 if the group stays as it is.
    environment: (name, value) pairs in the order of writing; the value is None for a variable to remove.
    unshare, unshare2: keys of NAMESPACE_FLAGS. cap: numbers of capabilities.
    pivot_root: the new root, and the directory below it to which the old root moves.

    pidfile_origins: file and line of each pid file that a configuration file sets. The other three are found in the
    jail. entered: in the namespaces that it joined. terminals: in a foreign root, a descriptor of the directory whose
    ptmx opens terminals. command_files: there, the file that each command executes.
    """

    raw_addresses: tuple[Address, ...]
    uwsgi_addresses: tuple[Address, ...]
    extended_addresses: tuple[Address, ...]
    pty_addresses: tuple[Address, ...]
    pty_uwsgi_addresses: tuple[Address, ...]
    pty_viewer_addresses: tuple[Address, ...]
    socket_mode: int
    socket_owner: tuple[int, int] | None
    backlog: int
    reuse_port: bool
    shared_sockets: tuple[Address, ...]
    insecure_tcp: bool
    allow_users: tuple[int, ...]
    allow_groups: tuple[int, ...]
    deny_users: tuple[int, ...]
    deny_groups: tuple[int, ...]
    run_as: str | None
    tls_certificate: str | None
    tls_key: str | None
    tls_authorities: str | None
    allow_tls_names: tuple[str, ...]
    tls_users: tuple[tuple[str, int], ...]
    given_command: str | None
    client_command: str
    accepted_environment: str
    rows: int
    cols: int
    processes: int
    events: int
    cheap: bool
    cheap_idle_seconds: float | None
    harakiri_seconds: float | None
    stats_addresses: tuple[Address, ...]
    stats_http: bool
    idle_timeout_seconds: float | None
    stop_timeout_seconds: float
    splice: bool
    busy_poll_us: int
    environment: tuple[tuple[str, str | None], ...]
    clear_environment: bool
    no_new_privs: bool
    session_cgroup: str | None
    max_sessions: int | None
    max_sessions_per_uid: int | None
    max_startups: int
    buffer_bytes: int
    lifetime_seconds: float | None
    greeting_timeout_seconds: float | None
    pty_command: str | None
    pty_once: bool
    pty_size: tuple[int, int] | None
    pty_scrollback_bytes: int
    pty_log: bool
    pty_input: bool
    pty_connect: Address | None
    pty_uconnect: Address | None
    pty_no_isig: bool
    setns: str | None
    setns_pid: int | None
    unshare: tuple[str, ...]
    jailed: bool
    chroot: str | None
    pivot_root: tuple[str, str] | None
    unshare2: tuple[str, ...]
    waits: tuple[Wait, ...]
    wait_interface_seconds: float
    wait_fs_seconds: float
    wait_socket_seconds: float
    hooks: tuple[Hook, ...]
    immediate_uid: int | None
    immediate_gid: int | None
    uid: int | None
    gid: int | None
    add_gid: tuple[int, ...]
    no_initgroups: bool
    cap: tuple[int, ...]
    umask: int | None
    chdir: str | None
    chdir2: str | None
    procname: str | None
    procname_master: str | None
    procname_prefix: str | None
    procname_append: str | None
    auto_procname: bool
    strict: bool
    master: bool
    die_on_term: bool
    close_on_exec: bool
    daemonize: str | None
    daemonize2: str | None
    logto: str | None
    logto2: str | None
    loggers: tuple[Destination, ...]
    log_level: int
    log_format: str
    pidfiles: tuple[str, ...]
    pidfiles2: tuple[str, ...]
    vacuum: bool
    plugins: tuple[str, ...]
    pidfile_origins: Mapping[str, str] = field(default_factory=dict)
    entered: Entered | None = None
    terminals: int = -1
    command_files: Mapping[str, str] | None = None

    @property
    def changes_root(self) -> bool:
        """Whether a user without rights over the router may control a path inside the jail.

        A new mount namespace alone does not count: it starts as a copy of the mounts outside, and only the router's own
        rights can change it.
        """
        return bool(self.chroot or self.pivot_root or self.setns or self.setns_pid)

    @property
    def hides_files(self) -> bool:
        """Whether a path inside the jail may be another file than outside."""
        return self.changes_root or "mount" in {*self.unshare, *self.unshare2}

    @property
    def has_rules(self) -> bool:
        """Whether any rule about users or groups is set."""
        return bool(self.allow_users or self.allow_groups or self.deny_users or self.deny_groups)

    def title(self, *, is_master: bool) -> str | None:
        """The process name in ps(1) that the procname options set; None keeps the command line."""
        own = self.procname_master if is_master and self.procname_master else self.procname
        if not (own or self.auto_procname or self.procname_prefix or self.procname_append):
            return None
        name = own or f"fastpty-router {'master' if is_master else 'worker'}"
        return (self.procname_prefix or "") + name + (self.procname_append or "")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses to listen on."""
        return self.session_addresses + self.stats_addresses

    @property
    def session_addresses(self) -> tuple[Address, ...]:
        """The addresses where clients get a terminal."""
        return self.raw_addresses + self.uwsgi_addresses + self.extended_addresses + self.shared_addresses

    @property
    def shared_addresses(self) -> tuple[Address, ...]:
        """The addresses of the shared terminal."""
        return self.pty_addresses + self.pty_uwsgi_addresses + self.pty_viewer_addresses

    @property
    def tls_identity(self) -> Identity | None:
        """The files for TLS; None if TCP is plain."""
        if self.tls_certificate is None or self.tls_key is None or self.tls_authorities is None:
            return None
        return Identity(self.tls_certificate, self.tls_key, self.tls_authorities)

    @property
    def command(self) -> str:
        """The command of a session that does not run its client's login shell."""
        return self.given_command or "/bin/sh"

    @property
    def shared_command(self) -> str:
        """The command of the shared terminal."""
        return self.command if self.pty_command is None else self.pty_command

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands that will run, with the option that sets each. A client's login shell is not among them."""
        found = []
        is_private = self.raw_addresses or self.uwsgi_addresses or self.extended_addresses
        if is_private and (self.given_command or self.run_as is None):
            found.append(("command", self.command))
        if self.shared_addresses:
            found.append(("command" if self.pty_command is None else "pty-exec", self.shared_command))
        return found

    @property
    def is_client(self) -> bool:
        """Whether this process is to be a client (pty-connect) instead of a router."""
        return (self.pty_connect, self.pty_uconnect) != (None, None)

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """A copy of `base` after `env` and `unenv`. The later setting of a variable wins, as in uWSGI."""
        result = dict(base)
        for name, value in self.environment:
            if value is None:
                result.pop(name, None)
            else:
                result[name] = value
        return result
