"""The one table of options: command-line flags, ini keys, defaults, help and docs/options.md all come from it.

Names and meanings are uWSGI's where uWSGI has the option (2.0.21, measured); ours say so in their help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastpty.configuration.values import (
    address,
    backlog,
    boolean,
    buffer_size,
    byte_count,
    cgroup,
    directory,
    environment_removal,
    event_count,
    harakiri_seconds,
    log_destination,
    log_file,
    microseconds,
    new_and_old_root,
    one,
    positive_seconds,
    process,
    process_count,
    run_as,
    seconds,
    session_count,
    socket_mode,
    spaced,
    startup_count,
    syslog,
    tls_user,
    window_edge,
)
from fastpty.hooks import actions, waits
from fastpty.log import log_format, log_level
from fastpty.system.names import (
    capabilities,
    comma_list,
    environment_entry,
    group,
    mode,
    namespaces,
    owner,
    text,
    user,
)


@dataclass(frozen=True)
class Option:
    """One option, whether it is written as `--name value` or as `name = value`.

    `field` is the attribute of Config it fills, or None where the command line or the
    loader deals with it, before there is a Config. `parse`
    turns the text into the typed value and raises ValueError with a text that fits after the option's name. A
    `repeatable` option's `parse` gives a tuple, and the tuples of all its settings are joined. `default` is
    text, for `parse`. `bare` is what the option means when written without a value; an option without `bare`
    needs one. An option with no `metavar` is a flag: it takes no value on the command line (in a file it may:
    `master = true`).
    """

    name: str
    field: str | None
    parse: Callable[[str], object]
    group: str
    help: str
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    default: str | None = None
    repeatable: bool = False
    bare: str | None = None
    in_files: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling, the main one first."""
        return (self.name, *self.aliases)

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone on the command line."""
        return self.metavar is None

    def default_value(self) -> object:
        """The typed value where nothing was set."""
        if self.default is not None:
            return self.parse(self.default)
        if self.repeatable:
            return ()
        return False if self.is_flag else None


SOCKETS = "Sockets"
ACCESS = "Access"
SESSIONS = "Sessions"
LIMITS = "Limits"
SHARED = "Shared terminal"
CLIENT = "As a client"
JAIL = "Jail"
HOOKS = "Hooks"
PROCESS = "Process names"
PROCESSES = "Processes"
STATISTICS = "Statistics"
LOG = "Log and background"
FILES = "Configuration files"
GENERAL = "General"

# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("forkpty-router", "raw_addresses", one(address), SOCKETS,
           "listen here for raw clients: bytes in, bytes out (socat, a short script)",
           metavar="ADDR", aliases=("forkptyrouter",), repeatable=True),
    Option("forkpty-urouter", "uwsgi_addresses", one(address), SOCKETS,
           "listen here for uwsgi clients, which can resize the terminal and send signals",
           metavar="ADDR", aliases=("forkptyurouter",), repeatable=True),
    Option("chmod-socket", "socket_mode", socket_mode, SOCKETS,
           "octal permissions of the socket files, three or four digits; 0666 when MODE is 1 or left out; "
           "an inherited socket must have them",
           metavar="MODE", default="0600", bare="0666"),
    Option("chown-socket", "socket_owner", owner, SOCKETS,
           "owner of the socket files; that of an inherited socket must be it", metavar="USER[:GROUP]"),
    Option("listen", "backlog", backlog, SOCKETS,
           "how many connections may wait to be accepted", metavar="N", default="100"),
    Option("reuse-port", "reuse_port", boolean, SOCKETS,
           "let other routers of this user that ask for it, too, share the TCP ports (SO_REUSEPORT)", bare="true"),
    Option("shared-socket", "shared_sockets", one(address), SOCKETS,
           "an address to be named =0, =1, … in the order of these options where an address is wanted",
           metavar="ADDR", repeatable=True),
    Option("insecure-tcp", "insecure_tcp", boolean, SOCKETS,
           "allow TCP addresses that are not loopback, where anybody may connect (fastpty's own)",
           bare="true"),
    Option("allow-user", "allow_users", one(user), ACCESS,
           "let this user connect, and whom no allow rule names no more, root neither (fastpty's own)",
           metavar="USER", repeatable=True),
    Option("allow-group", "allow_groups", one(group), ACCESS,
           "let the members of this group connect, and whom no allow rule names no more (fastpty's own)",
           metavar="GROUP", repeatable=True),
    Option("deny-user", "deny_users", one(user), ACCESS,
           "do not let this user connect, whatever else says so (fastpty's own)", metavar="USER", repeatable=True),
    Option("deny-group", "deny_groups", one(group), ACCESS,
           "do not let the members of this group connect, whatever else says so (fastpty's own)",
           metavar="GROUP", repeatable=True),
    Option("run-as", "run_as", run_as, ACCESS,
           "give each client a session under its own account, in its home; needs root, and a client that is root"
           " needs allow-user root (fastpty's own)", metavar="peer"),
    Option("tls-cert", "tls_certificate", directory, ACCESS,
           "speak TLS 1.3 on all TCP addresses, with this certificate and its chain (PEM); clients must show one, too"
           " (fastpty's own)", metavar="FILE"),
    Option("tls-key", "tls_key", directory, ACCESS,
           "the certificate's key (PEM), read before privileges are dropped; only its owner and its group may be able"
           " to read it, and only its owner to write to it (fastpty's own)", metavar="FILE"),
    Option("tls-ca", "tls_authorities", directory, ACCESS,
           "the authorities whose client certificates are believed (PEM; fastpty's own)", metavar="FILE"),
    Option("allow-tls-name", "allow_tls_names", one(text), ACCESS,
           "of the clients with a good certificate let only those in that have this common name or alternative name"
           " (fastpty's own)", metavar="NAME", repeatable=True),
    Option("tls-user", "tls_users", one(tls_user), ACCESS,
           "take who has a certificate with this common name or alternative name for this user: in the rules about"
           " users and groups, in max-sessions-per-uid and with run-as peer (fastpty's own)",
           metavar="NAME=USER", repeatable=True),
    Option("forkptyrouter-command", "given_command", text, SESSIONS,
           "what each connection runs; with a blank in it, through /bin/sh -c; left out, /bin/sh, or with run-as peer"
           " the login shell", metavar="CMD",
           aliases=("forkptyrouter-cmd", "forkpty-router-command", "forkpty-router-cmd")),
    Option("forkptyrouter-rows", "rows", window_edge, SESSIONS,
           "rows of a new terminal", metavar="N", default="24", aliases=("forkpty-router-rows",)),
    Option("forkptyrouter-cols", "cols", window_edge, SESSIONS,
           "columns of a new terminal", metavar="N", default="80", aliases=("forkpty-router-cols",)),
    Option("forkptyrouter-timeout", "idle_timeout_seconds", positive_seconds, SESSIONS,
           "end a session that was idle for so long; left out, no session is ended",
           metavar="SECONDS", aliases=("forkpty-router-timeout",)),
    Option("stop-timeout", "stop_timeout_seconds", seconds, SESSIONS,
           "time between SIGHUP and SIGKILL for what is left of a session; 0 kills at once (fastpty's own)",
           metavar="SECONDS", default="10"),
    Option("splice", "splice", boolean, SESSIONS,
           "move streams with splice(2); where the kernel refuses, off by itself (fastpty's own)",
           metavar="on|off", default="on"),
    Option("busy-poll", "busy_poll_us", microseconds, SESSIONS,
           "go to sleep only after so long, when a key's answer or, for half as long, more of a stream is expected; "
           "0 to 10000 (fastpty's own)", metavar="USEC", default="100"),
    Option("env", "environment", one(environment_entry), SESSIONS,
           "set an environment variable", metavar="NAME=VALUE", repeatable=True),
    Option("unenv", "environment", one(environment_removal), SESSIONS,
           "remove an environment variable", metavar="NAME", repeatable=True),
    Option("clear-env", "clear_environment", boolean, SESSIONS,
           "start from an environment of PATH and TERM alone, not from the router's (fastpty's own)", bare="true"),
    Option("no-new-privs", "no_new_privs", boolean, SESSIONS,
           "what sessions run can gain no rights, with su or sudo neither (prctl(2); fastpty's own)", bare="true"),
    Option("session-cgroup", "session_cgroup", cgroup, SESSIONS,
           "give each session a cgroup (version 2) below this one, or below the router's own, with which all that the "
           "session has started ends, daemons too (fastpty's own)", metavar="DIRECTORY|own", bare="own"),
    Option("max-sessions", "max_sessions", session_count, LIMITS,
           "so many sessions at a time, in all workers together (fastpty's own)", metavar="N"),
    Option("max-sessions-per-uid", "max_sessions_per_uid", session_count, LIMITS,
           "so many sessions at a time of each user; TCP clients that are no user's count as one (fastpty's own)",
           metavar="N"),
    Option("max-startups", "max_startups", startup_count, LIMITS,
           "so many TLS connections at a time that have not shown their certificate yet; the others wait, as all do for"
           " their start, in the queue of listen (fastpty's own)", metavar="N", default="64"),
    Option("session-buffer", "buffer_bytes", buffer_size, LIMITS,
           "hold so much of each direction of a session until the other side takes it, 4K to 64K; more waits in its"
           " client or program, and so do a uwsgi client's signals and window sizes behind that (fastpty's own)",
           metavar="BYTES", default="64K"),
    Option("session-lifetime", "lifetime_seconds", positive_seconds, LIMITS,
           "end a session after so long, used or not (fastpty's own)", metavar="SECONDS"),
    Option("greeting-timeout", "greeting_timeout_seconds", positive_seconds, LIMITS,
           "end the session of a uwsgi client that has sent nothing for so long since it came (fastpty's own)",
           metavar="SECONDS"),
    Option("forkptyrouter-processes", "processes", process_count, PROCESSES,
           "relay in so many processes, for machines with many busy sessions",
           metavar="N", default="1",
           aliases=("forkptyrouter-workers", "forkpty-router-processes", "forkpty-router-workers")),
    Option("forkptyrouter-events", "events", event_count, PROCESSES,
           "how many events a process takes from epoll in one turn, 1 to 1024", metavar="N", default="64",
           aliases=("forkpty-router-events",)),
    Option("forkptyrouter-cheap", "cheap", boolean, PROCESSES,
           "start no worker until somebody connects", bare="true", aliases=("forkpty-router-cheap",)),
    Option("idle", "cheap_idle_seconds", positive_seconds, PROCESSES,
           "end the workers after so long without a session, until somebody connects", metavar="SECONDS"),
    Option("forkptyrouter-harakiri", "harakiri_seconds", harakiri_seconds, PROCESSES,
           "kill and replace a worker that is stuck in one turn of its loop for this long, at least 1",
           metavar="SECONDS",
           aliases=("forkpty-router-harakiri",)),
    Option("master", "master", boolean, PROCESSES,
           "accepted so that uWSGI's files run as they stand: there always is a supervisor", bare="true"),
    Option("die-on-term", "die_on_term", boolean, PROCESSES,
           "accepted so that uWSGI's files run as they stand: SIGTERM always stops", bare="true"),
    Option("close-on-exec", "close_on_exec", boolean, PROCESSES,
           "accepted so that uWSGI's files run as they stand: no program gets a socket", bare="true",
           aliases=("close-on-exec2",)),
    Option("stop", None, text, PROCESSES,
           "stop the router that wrote this pid file (SIGTERM), and exit when it has ended", metavar="PIDFILE",
           in_files=False),
    Option("reload", None, text, PROCESSES,
           "make the router that wrote this pid file read its configuration again (as SIGHUP does), and exit with 1 "
           "if it refuses the new one", metavar="PIDFILE", in_files=False),
    Option("no-wait", None, boolean, PROCESSES,
           "with --stop and --reload: exit without waiting for the outcome (fastpty's own)", bare="true",
           in_files=False),
    Option("forkptyrouter-stats", "stats_addresses", one(address), STATISTICS,
           "tell statistics in JSON to who connects here and no rule keeps out", metavar="ADDR", repeatable=True,
           aliases=tuple(f"{router}-{word}" for word in ("stats", "stats-server", "ss")
                         for router in ("forkptyrouter", "forkpty-router"))[1:]),
    Option("stats-http", "stats_http", boolean, STATISTICS,
           "put HTTP headers before the statistics", bare="true"),
    Option("daemonize", "daemonize", log_file, LOG,
           "go into the background once all is ready, and log to this file", metavar="FILE"),
    Option("daemonize2", "daemonize2", log_file, LOG,
           "the same; the file is opened in the jail, after privileges are dropped", metavar="FILE"),
    Option("logto", "logto", log_file, LOG,
           "send standard output and error, and so the log, to this file", metavar="FILE"),
    Option("logto2", "logto2", log_file, LOG,
           "the same; the file is opened in the jail, after privileges are dropped", metavar="FILE"),
    Option("logger", "loggers", one(log_destination), LOG,
           "send the log there and not to standard error: file:PATH or syslog[:IDENT[,FACILITY]]",
           metavar="WHERE", repeatable=True),
    Option("log-syslog", "loggers", one(syslog), LOG,
           "send the log to syslog and not to standard error", metavar="IDENT[,FACILITY]", bare="fastpty-router",
           repeatable=True),
    Option("log-level", "log_level", log_level, LOG,
           "log only events of this level and above: info, warning or error (fastpty's own)",
           metavar="LEVEL", default="info"),
    Option("log-format", "log_format", log_format, LOG,
           "write each event as a line of text or as a JSON object", metavar="text|json", default="text"),
    Option("pidfile", "pidfiles", one(directory), LOG,
           "write the supervisor's process id here, before privileges are dropped", metavar="FILE",
           aliases=("safe-pidfile",), repeatable=True),
    Option("pidfile2", "pidfiles2", one(directory), LOG,
           "the same, in the jail, after privileges are dropped", metavar="FILE", aliases=("safe-pidfile2",),
           repeatable=True),
    Option("vacuum", "vacuum", boolean, LOG,
           "remove the pid files at the end; socket files are always removed", bare="true"),
    Option("pty-socket", "pty_addresses", one(address), SHARED,
           "listen here for raw clients that share one terminal: everybody sees, everybody types",
           metavar="ADDR", repeatable=True),
    Option("pty-exec", "pty_command", text, SHARED,
           "what runs on the shared terminal; left out, what forkptyrouter-command says", metavar="CMD"),
    Option("pty-once", "pty_once", boolean, SHARED,
           "do not start it again when it has ended; clients get its last output and an end (fastpty's own)",
           bare="true"),
    Option("pty-scrollback", "pty_scrollback_bytes", byte_count, SHARED,
           "how much of the output so far a client sees when it joins; K and M are understood (fastpty's own)",
           metavar="BYTES", default="64K"),
    Option("pty-log", "pty_log", boolean, SHARED,
           "write the shared terminal's output to the log too, line by line", bare="true"),
    Option("pty-input", "pty_input", boolean, SHARED,
           "the terminal that the router was started on is a client too (~. detaches it)", bare="true"),
    Option("pty-connect", "pty_connect", address, CLIENT,
           "be a raw client of ADDR, as fastpty --pty-connect is", metavar="ADDR"),
    Option("pty-uconnect", "pty_uconnect", address, CLIENT,
           "be a uwsgi client of ADDR, as fastpty --pty-uconnect is", metavar="ADDR"),
    Option("pty-no-isig", "pty_no_isig", boolean, CLIENT,
           "accepted, and no change: ^C, ^\\ and ^Z always go to the remote terminal", bare="true"),
    Option("setns", "setns", text, JAIL,
           "enter the namespaces of a directory such as /proc/PID/ns, of one file of it, or of a uWSGI's setns-socket",
           metavar="PATH"),
    Option("setns-pid", "setns_pid", process, JAIL,
           "join a process in a container: its namespaces, root, directory, ids, rights, control groups and "
           "environment (fastpty's own)", metavar="PID"),
    Option("unshare", "unshare", namespaces, JAIL,
           "new namespaces, a comma list of uts, ipc, net, mount (or fs, mnt, ns), pid, user, cgroup, time, files, "
           "sysvsem", metavar="NAMES", repeatable=True),
    Option("jailed", "jailed", boolean, JAIL, "run the post-jail hooks without unshare, too", bare="true"),
    Option("chroot", "chroot", directory, JAIL, "make this directory the root", metavar="DIR"),
    Option("pivot-root", "pivot_root", new_and_old_root, JAIL,
           "make a mount the root, and put the old root into a directory of it", metavar="NEW OLD",
           aliases=("pivot_root",)),
    Option("unshare2", "unshare2", namespaces, JAIL,
           "more new namespaces, after the change of root", metavar="NAMES", repeatable=True),
    *(Option(f"wait-for-{kind}", "waits", one(waits.parse(kind)), JAIL,
             f"wait until this {what} is there, before the as-root hooks", metavar=metavar, repeatable=True,
             aliases=aliases)
      for kind, what, metavar, aliases in (
          ("interface", "network interface", "NAME", ("wait-interface", "wait-for-iface", "wait-iface")),
          ("fs", "file of any kind", "PATH", ()), ("file", "file", "PATH", ()),
          ("dir", "directory", "PATH", ()), ("mountpoint", "mount", "PATH", ()))),
    Option("wait-for-interface-timeout", "wait_interface_seconds", seconds, JAIL,
           "how long wait-for-interface waits", metavar="SECONDS", default="60",
           aliases=("wait-interface-timeout", "wait-for-iface-timeout", "wait-iface-timeout")),
    Option("wait-for-fs-timeout", "wait_fs_seconds", seconds, JAIL,
           "how long the other wait-for options wait", metavar="SECONDS", default="60"),
    Option("immediate-uid", "immediate_uid", user, JAIL,
           "become this user before anything else, sockets and hooks", metavar="USER"),
    Option("immediate-gid", "immediate_gid", group, JAIL,
           "become this group before anything else", metavar="GROUP"),
    Option("uid", "uid", user, JAIL,
           "become this user, a name or a number, with its HOME, USER, LOGNAME, SHELL and MAIL", metavar="USER"),
    Option("gid", "gid", group, JAIL,
           "become this group, a name or a number; the user's own when only uid is given", metavar="GROUP"),
    Option("add-gid", "add_gid", one(group), JAIL,
           "have this group as well as those of the user", metavar="GROUP", repeatable=True),
    Option("no-initgroups", "no_initgroups", boolean, JAIL,
           "leave the user's supplementary groups out", bare="true"),
    Option("cap", "cap", capabilities, JAIL,
           "keep these capabilities, a comma list such as net_raw,kill, in the sessions, too; no program of the jail "
           "can ever have another", metavar="NAMES", repeatable=True),
    Option("umask", "umask", mode, JAIL, "octal file mode creation mask", metavar="MASK"),
    Option("chdir", "chdir", directory, JAIL, "work in this directory, once in the jail", metavar="DIR"),
    Option("chdir2", "chdir2", directory, JAIL, "and then go to this one", metavar="DIR"),
    *(Option(f"{kind}-{phase}", "hooks", actions.parse(kind, phase), HOOKS, f"{what} {when}", metavar=metavar,
             repeatable=True)
      for phase, when in (
          ("asap", "before anything else is done"),
          ("pre-jail", "before the jail is built"),
          ("in-jail", "right after pre-jail, as in uWSGI"),
          ("post-jail", "after unshare"),
          ("as-root", "before privileges are dropped"),
          ("as-user", "after privileges are dropped"),
          ("as-user-atexit", "when the router ends"))
      for kind, what, metavar in (
          ("hook", "do this", "ACTION:ARGUMENT"),
          ("mount", "mount this", "TYPE WHAT WHERE [FLAGS [DATA]]"),
          ("umount", "unmount this", "WHERE [FLAGS]"),
          ("exec", "run this through /bin/sh -c", "CMD"))
      if kind in ("hook", "exec") or "user" not in phase),
    Option("procname", "procname", text, PROCESS, "the name of the router's processes in ps", metavar="NAME"),
    Option("procname-master", "procname_master", text, PROCESS,
           "the name of the process that looks after the others", metavar="NAME"),
    Option("procname-prefix", "procname_prefix", text, PROCESS, "what stands before the name", metavar="TEXT"),
    Option("procname-prefix-spaced", "procname_prefix", spaced, PROCESS,
           "what stands before the name, and a blank", metavar="TEXT"),
    Option("procname-append", "procname_append", text, PROCESS, "what stands after the name", metavar="TEXT"),
    Option("auto-procname", "auto_procname", boolean, PROCESS,
           "name the processes after what they do", bare="true"),
    Option("ini", None, text, FILES, "read settings from this ini file, or from one section of it",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("json", None, text, FILES, "read settings from this JSON file, in uWSGI's form",
           metavar="FILE[:NAME]", aliases=("js",), repeatable=True),
    Option("yaml", None, text, FILES, "read settings from this YAML file, in uWSGI's form; needs PyYAML",
           metavar="FILE[:NAME]", aliases=("yml",), repeatable=True),
    Option("toml", None, text, FILES, "read settings from the [fastpty] table of this TOML file (fastpty's own)",
           metavar="FILE[:TABLE]", repeatable=True),
    Option("include", None, text, FILES, "read settings from this file; its ending tells the format",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("inherit", None, text, FILES, "the same, but after all others, and without expanding its values",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("set", None, text, FILES, "set an option, or a name for %(NAME)", metavar="NAME=VALUE", repeatable=True),
    Option("set-placeholder", None, text, FILES, "set a name for %(NAME), which must not be an option's",
           metavar="NAME=VALUE", aliases=("set-ph",), repeatable=True),
    Option("print", None, text, FILES, "write this text to standard error", metavar="TEXT", repeatable=True),
    Option("show-config", None, boolean, FILES, "write all settings to standard error, as an ini file", bare="true"),
    Option("check", None, boolean, FILES,
           "only check the configuration, and show it with where each value comes from (fastpty's own)",
           bare="true", in_files=False),
    Option("strict", "strict", boolean, GENERAL,
           "refuse every unknown option in a [uwsgi] section, not only those that look like a misspelt one",
           bare="true"),
    Option("plugins", "plugins", comma_list, GENERAL,
           "accepted so that uWSGI's files run as they stand; loads nothing",
           metavar="NAMES", aliases=("plugin", "need-plugin", "need-plugins"), repeatable=True),
    Option("help", None, boolean, GENERAL, "show this and exit", bare="true", in_files=False),
    Option("version", None, boolean, GENERAL, "show the version and exit", bare="true", in_files=False),
)
# fmt: on

BY_NAME: dict[str, Option] = {name: option for option in OPTIONS for name in option.names}
