"""The table of options: flags, keys of files, variables, defaults, help texts and docs/options.md all come from it.

Names and meanings are uWSGI's where uWSGI has the option (2.0.21, measured). An option whose uWSGI name means nothing
to other people has a plain name first, and uWSGI's as aliases.
"""

from __future__ import annotations

from fastpty.configuration.option import Group, Option, Reload
from fastpty.configuration.values import (
    address,
    backlog,
    boolean,
    buffer_size,
    byte_count,
    cgroup,
    client_command,
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
    window_size,
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

SOCKETS = Group("Sockets")
ACCESS = Group("Access")
SESSIONS = Group("Sessions")
LIMITS = Group("Limits")
SHARED = Group("Shared terminal")
CLIENT = Group("As a client")
JAIL = Group("Jail", Reload.REFUSE)
HOOKS = Group("Hooks", Reload.REFUSE)
PROCESS = Group("Process names", Reload.KEEP)
PROCESSES = Group("Processes")
STATISTICS = Group("Statistics")
LOG = Group("Log and background", Reload.KEEP)
FILES = Group("Configuration files")
GENERAL = Group("General")

_NAMESPACES = "uts, ipc, net, mount (or fs, mnt, ns), pid, user, cgroup, time, files, sysvsem"
_NO_EFFECT = "Accepted for uWSGI's files, without effect: "

# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("listen-uwsgi", "uwsgi_addresses", one(address), SOCKETS,
           "Serve clients on ADDR that can resize the terminal. They speak the uwsgi protocol, which carries window "
           "sizes and signals (fastpty connect --uwsgi).",
           metavar="ADDR", aliases=("forkpty-urouter", "forkptyurouter"), repeatable=True, own=True, usual=True),
    Option("listen-raw", "raw_addresses", one(address), SOCKETS,
           "Serve raw clients on ADDR: bytes in, bytes out. Any program that can talk to a socket is a client (socat, "
           "a script). The window size is fixed, unless fastpty connect negotiates fastpty's own protocol.",
           metavar="ADDR", aliases=("forkpty-router", "forkptyrouter"), repeatable=True, own=True, usual=True),
    Option("fpty-router", "extended_addresses", one(address), SOCKETS,
           "Serve clients of fastpty's own protocol on ADDR, for TCP on loopback and for proxies such as ssh -L. Local "
           "clients negotiate it at every address.", metavar="ADDR", repeatable=True, own=True),
    Option("chmod-socket", "socket_mode", socket_mode, SOCKETS,
           "Set the mode of the socket files. MODE is octal, three or four digits; without MODE, or with 1, it "
           "is 0666. An inherited socket must have this mode already.",
           metavar="MODE", default="0600", bare="0666", usual=True, on_reload=Reload.REFUSE_FOR_OPEN_SOCKETS),
    Option("chown-socket", "socket_owner", owner, SOCKETS,
           "Set the owner of the socket files. An inherited socket must have this owner already.",
           metavar="USER[:GROUP]", on_reload=Reload.REFUSE_FOR_OPEN_SOCKETS),
    Option("backlog", "backlog", backlog, SOCKETS,
           "Let at most N connections wait to be accepted on each socket. N cannot exceed net.core.somaxconn.",
           metavar="N", default="100", aliases=("listen",), own=True, on_reload=Reload.NEW_SOCKETS),
    Option("reuse-port", "reuse_port", boolean, SOCKETS,
           "Share the TCP ports with other routers of the same user that set this option (SO_REUSEPORT).",
           bare="true", on_reload=Reload.NEW_SOCKETS),
    Option("shared-socket", "shared_sockets", one(address), SOCKETS,
           "Declare an address that other options can name as =0, =1 and so on, in the order of declaration.",
           metavar="ADDR", repeatable=True),
    Option("insecure-tcp", "insecure_tcp", boolean, SOCKETS,
           "Allow TCP addresses beyond loopback without TLS. Everyone who can reach such an address gets a shell.",
           bare="true", own=True),
    Option("allow-user", "allow_users", one(user), ACCESS,
           "Allow USER to connect. Once any allow rule is set, everyone not named by one is refused, including root.",
           metavar="USER", repeatable=True, own=True, usual=True),
    Option("allow-group", "allow_groups", one(group), ACCESS,
           "Allow the members of GROUP to connect. Once any allow rule is set, everyone not named by one is refused, "
           "including root.", metavar="GROUP", repeatable=True, own=True),
    Option("deny-user", "deny_users", one(user), ACCESS,
           "Refuse USER, whatever the allow rules say.", metavar="USER", repeatable=True, own=True),
    Option("deny-group", "deny_groups", one(group), ACCESS,
           "Refuse the members of GROUP, whatever the allow rules say.", metavar="GROUP", repeatable=True, own=True),
    Option("run-as", "run_as", run_as, ACCESS,
           "Run each session as its client's account. It starts in that account's home. Needs root. Root may connect "
           "only with allow-user root.", metavar="peer", own=True, usual=True, on_reload=Reload.REFUSE),
    Option("tls-cert", "tls_certificate", directory, ACCESS,
           "Serve TLS 1.3 on all TCP addresses, with the certificate chain in FILE (PEM). Clients must present a "
           "certificate too. Needs tls-key and tls-ca.",
           metavar="FILE", own=True, on_reload=Reload.REFUSE),
    Option("tls-key", "tls_key", directory, ACCESS,
           "Use the private key in FILE (PEM) for tls-cert. It is read before privileges are dropped. Only its owner "
           "and its group may read it, and only its owner may write it.",
           metavar="FILE", own=True, on_reload=Reload.REFUSE),
    Option("tls-ca", "tls_authorities", directory, ACCESS,
           "Trust client certificates issued by the authorities in FILE (PEM).",
           metavar="FILE", own=True, on_reload=Reload.REFUSE),
    Option("allow-tls-name", "allow_tls_names", one(text), ACCESS,
           "Of the clients with a trusted certificate, allow only those whose common name or alternative name is NAME.",
           metavar="NAME", repeatable=True, own=True, on_reload=Reload.REFUSE),
    Option("tls-user", "tls_users", one(tls_user), ACCESS,
           "Treat a TLS client whose common name or alternative name is NAME as the local account USER: in the rules "
           "about users and groups, in max-sessions-per-uid and with run-as peer.",
           metavar="NAME=USER", repeatable=True, own=True, on_reload=Reload.REFUSE),
    Option("command", "given_command", text, SESSIONS,
           "Run CMD in each session. A CMD with a space in it runs through /bin/sh -c; one without a slash is looked "
           "up in PATH. Default: /bin/sh, or the client's login shell with run-as peer.", metavar="CMD",
           aliases=("forkptyrouter-command", "forkptyrouter-cmd", "forkpty-router-command", "forkpty-router-cmd"),
           own=True, usual=True),
    Option("client-command", "client_command", client_command, SESSIONS,
           "Let clients choose command, environment and directory, and use fastpty exec and cp: yes, no, or auto. auto "
           "means no if command is set to something other than an ordinary shell in /bin, /usr/bin or /usr/local/bin. "
           "Under run-as peer, auto lets clients set only the variables that accept-env names. --check shows what auto "
           "decides.", metavar="auto|yes|no", default="auto", own=True),
    Option("accept-env", "accepted_environment", spaced, SESSIONS,
           "Accept these variables from clients. NAMES are patterns separated by spaces. A variable such as BASH_ENV, "
           "LD_PRELOAD or PATH lets clients run code in spite of a forced command.", metavar="NAMES",
           default="LANG LC_* COLORTERM NO_COLOR", own=True),
    Option("rows", "rows", window_edge, SESSIONS,
           "Open terminals with N rows, 1 to 65535. The size that a client sends takes precedence.",
           metavar="N", default="24", aliases=("forkptyrouter-rows", "forkpty-router-rows"), own=True),
    Option("cols", "cols", window_edge, SESSIONS,
           "Open terminals with N columns, 1 to 65535. The size that a client sends takes precedence.",
           metavar="N", default="80", aliases=("forkptyrouter-cols", "forkpty-router-cols"), own=True),
    Option("idle-timeout", "idle_timeout_seconds", positive_seconds, SESSIONS,
           "End a session after TIME without input or output. Default: never.",
           metavar="TIME", aliases=("forkptyrouter-timeout", "forkpty-router-timeout"), own=True, usual=True),
    Option("stop-timeout", "stop_timeout_seconds", seconds, SESSIONS,
           "Wait TIME after SIGHUP before sending SIGKILL to what is left of a session. 0 kills at once.",
           metavar="TIME", default="10s", own=True),
    Option("splice", "splice", boolean, SESSIONS,
           "Move streams inside the kernel with splice(2). The router stops using it where the kernel refuses.",
           metavar="on|off", default="on", own=True),
    Option("busy-poll", "busy_poll_us", microseconds, SESSIONS,
           "After a keystroke, poll for up to USEC microseconds before sleeping; half that for streams. From 0 to "
           "10000; 0 disables polling.", metavar="USEC", default="100", own=True),
    Option("env", "environment", one(environment_entry), SESSIONS,
           "Set an environment variable of the sessions.", metavar="NAME=VALUE", repeatable=True, usual=True),
    Option("unenv", "environment", one(environment_removal), SESSIONS,
           "Remove an environment variable from the sessions.", metavar="NAME", repeatable=True),
    Option("clear-env", "clear_environment", boolean, SESSIONS,
           "Start sessions with only PATH and TERM in their environment, instead of the router's environment.",
           bare="true", own=True),
    Option("no-new-privs", "no_new_privs", boolean, SESSIONS,
           "Keep sessions from gaining privileges, for example with su or sudo (PR_SET_NO_NEW_PRIVS).",
           bare="true", own=True),
    Option("session-cgroup", "session_cgroup", cgroup, SESSIONS,
           "Run each session in its own cgroup (version 2). It is created below DIRECTORY or, with own or no value, "
           "below the router's cgroup. When the session ends, all processes it has started are killed, daemons too.",
           metavar="DIRECTORY|own", bare="own", own=True, on_reload=Reload.REFUSE),
    Option("max-sessions", "max_sessions", session_count, LIMITS,
           "Allow at most N sessions at a time. The sessions of all workers count together. Default: no limit.",
           metavar="N", own=True, usual=True),
    Option("max-sessions-per-uid", "max_sessions_per_uid", session_count, LIMITS,
           "Allow each user at most N sessions at a time. All TCP clients without a user count as one user. Default: "
           "no limit.", metavar="N", own=True),
    Option("max-startups", "max_startups", startup_count, LIMITS,
           "Allow at most N TLS connections at a time that have not shown their certificate yet. Further ones wait in "
           "the backlog.", metavar="N", default="64", own=True, on_reload=Reload.KEEP),
    Option("session-buffer", "buffer_bytes", buffer_size, LIMITS,
           "Buffer at most SIZE in each direction of a session, 4K to 64K. When it is full, the sender waits, and a "
           "uwsgi client's signals and window sizes wait behind its input.", metavar="SIZE", default="64K", own=True),
    Option("session-lifetime", "lifetime_seconds", positive_seconds, LIMITS,
           "End a session TIME after its start, even if it is in use. Default: never.", metavar="TIME", own=True),
    Option("greeting-timeout", "greeting_timeout_seconds", positive_seconds, LIMITS,
           "End the session of a uwsgi client that has sent nothing TIME after it connected. Default: never.",
           metavar="TIME", own=True),
    Option("workers", "processes", process_count, PROCESSES,
           "Relay in N processes. Useful for many busy sessions.", metavar="N", default="1",
           aliases=tuple(f"{router}-{word}" for router in ("forkptyrouter", "forkpty-router")
                         for word in ("processes", "workers")), own=True),
    Option("events", "events", event_count, PROCESSES,
           "Handle at most N events in one turn of a worker's loop, 1 to 1024.", metavar="N", default="64",
           aliases=("forkptyrouter-events", "forkpty-router-events"), own=True),
    Option("on-demand", "cheap", boolean, PROCESSES,
           "Start no worker until a client connects.", bare="true",
           aliases=("forkptyrouter-cheap", "forkpty-router-cheap"), own=True),
    Option("worker-idle-timeout", "cheap_idle_seconds", positive_seconds, PROCESSES,
           "Stop the workers after TIME without a session, until a client connects. Default: never.", metavar="TIME",
           aliases=("idle",), own=True),
    Option("stuck-timeout", "harakiri_seconds", harakiri_seconds, PROCESSES,
           "Kill and replace a worker whose loop has been stuck in one turn for TIME, at least 1 second. Default: "
           "never.", metavar="TIME", aliases=("forkptyrouter-harakiri", "forkpty-router-harakiri"), own=True),
    Option("master", "master", boolean, PROCESSES,
           _NO_EFFECT + "the router always has a supervisor.", bare="true"),
    Option("die-on-term", "die_on_term", boolean, PROCESSES,
           _NO_EFFECT + "SIGTERM always stops the router.", bare="true"),
    Option("close-on-exec", "close_on_exec", boolean, PROCESSES,
           _NO_EFFECT + "sessions never inherit a socket.", bare="true", aliases=("close-on-exec2",)),
    Option("stop", None, text, PROCESSES,
           "Stop the router that wrote PIDFILE, and exit. Sends it SIGTERM and waits until it has ended.",
           metavar="PIDFILE", in_files=False, usual=True),
    Option("reload", None, text, PROCESSES,
           "Reload the router that wrote PIDFILE, and exit. Prints the outcome. Exits with 1 if the router refuses "
           "its new configuration.", metavar="PIDFILE", in_files=False, usual=True),
    Option("no-wait", None, boolean, PROCESSES,
           "With --stop and --reload, exit without waiting for the outcome.", bare="true", in_files=False, own=True),
    Option("stats", "stats_addresses", one(address), STATISTICS,
           "Serve statistics as JSON on ADDR. Clients must pass the access rules.", metavar="ADDR",
           repeatable=True, own=True, usual=True,
           aliases=tuple(f"{router}-{word}" for word in ("stats", "stats-server", "ss")
                         for router in ("forkptyrouter", "forkpty-router"))),
    Option("stats-http", "stats_http", boolean, STATISTICS,
           "Send HTTP headers before the statistics.", bare="true"),
    Option("daemonize", "daemonize", log_file, LOG,
           "Run in the background and log to FILE. The command returns when clients can connect.", metavar="FILE",
           usual=True),
    Option("daemonize2", "daemonize2", log_file, LOG,
           "Like daemonize, but open FILE in the jail, after privileges are dropped.", metavar="FILE"),
    Option("logto", "logto", log_file, LOG,
           "Send standard output and standard error, and so the log, to FILE.", metavar="FILE"),
    Option("logto2", "logto2", log_file, LOG,
           "Like logto, but open FILE in the jail, after privileges are dropped.", metavar="FILE"),
    Option("logger", "loggers", one(log_destination), LOG,
           "Send the log to WHERE instead of standard error: file:PATH or syslog[:IDENT[,FACILITY]].",
           metavar="WHERE", repeatable=True),
    Option("log-syslog", "loggers", one(syslog), LOG,
           "Send the log to syslog instead of standard error.", metavar="IDENT[,FACILITY]", bare="fastpty-router",
           repeatable=True),
    Option("log-level", "log_level", log_level, LOG,
           "Log only events of LEVEL and above: info, warning or error.",
           metavar="LEVEL", default="info", own=True),
    Option("log-format", "log_format", log_format, LOG,
           "Write each event as FORMAT: text, one line, or json, one object.", metavar="FORMAT", default="text",
           aliases=("logformat",)),
    Option("pidfile", "pidfiles", one(directory), LOG,
           "Write the router's process ID to FILE. The file is written before privileges are dropped.", metavar="FILE",
           aliases=("safe-pidfile",), repeatable=True, usual=True),
    Option("pidfile2", "pidfiles2", one(directory), LOG,
           "Like pidfile, but write FILE in the jail, after privileges are dropped.", metavar="FILE",
           aliases=("safe-pidfile2",), repeatable=True),
    Option("vacuum", "vacuum", boolean, LOG,
           "Remove the pid files at exit. Socket files are always removed.", bare="true"),
    Option("pty-socket", "pty_addresses", one(address), SHARED,
           "Serve one shared terminal on ADDR. All its clients are raw clients; everybody sees it and can type.",
           metavar="ADDR", repeatable=True, usual=True),
    Option("pty-uwsgi-socket", "pty_uwsgi_addresses", one(address), SHARED,
           "Serve the shared terminal on ADDR to clients of the uwsgi protocol (fastpty connect --uwsgi), which can "
           "resize it and send signals.", metavar="ADDR", repeatable=True, own=True),
    Option("pty-viewer-socket", "pty_viewer_addresses", one(address), SHARED,
           "Show the shared terminal on ADDR to clients that cannot type, resize or signal: their input is dropped.",
           metavar="ADDR", repeatable=True, own=True),
    Option("pty-size", "pty_size", window_size, SHARED,
           "Give the shared terminal the fewest rows and columns of all clients of pty-uwsgi-socket (smallest), or a "
           "fixed size, such as 40x120. While no client has sent a size, it has that of rows and cols.",
           metavar="SIZE", default="smallest", own=True),
    Option("pty-exec", "pty_command", text, SHARED,
           "Run CMD on the shared terminal. Default: the value of command.", metavar="CMD"),
    Option("pty-once", "pty_once", boolean, SHARED,
           "Do not restart CMD when it has exited. Clients get its last output and are disconnected.",
           bare="true", own=True),
    Option("pty-scrollback", "pty_scrollback_bytes", byte_count, SHARED,
           "Send the last SIZE of output to a client when it joins, at most 1024M.",
           metavar="SIZE", default="64K", own=True),
    Option("pty-log", "pty_log", boolean, SHARED,
           "Write the shared terminal's output to the log too, line by line.", bare="true"),
    Option("pty-input", "pty_input", boolean, SHARED,
           "Attach the terminal that the router was started on to the shared terminal. ~. detaches it.", bare="true",
           on_reload=Reload.KEEP),
    Option("pty-connect", "pty_connect", address, CLIENT,
           "Be a raw client of ADDR, like fastpty connect ADDR.", metavar="ADDR"),
    Option("pty-uconnect", "pty_uconnect", address, CLIENT,
           "Be a uwsgi client of ADDR, like fastpty connect --uwsgi ADDR.", metavar="ADDR"),
    Option("pty-no-isig", "pty_no_isig", boolean, CLIENT,
           _NO_EFFECT + "^C, ^\\ and ^Z always go to the remote terminal.", bare="true"),
    Option("setns-pid", "setns_pid", process, JAIL,
           "Run sessions in the container of process PID. The router joins its namespaces, root and control groups, "
           "and takes on its working directory, IDs, capabilities and environment.",
           metavar="PID", own=True, usual=True),
    Option("setns", "setns", text, JAIL,
           "Join the namespaces at PATH: a directory such as /proc/PID/ns, one file in it, or the setns-socket of a "
           "uWSGI instance.", metavar="PATH"),
    Option("unshare", "unshare", namespaces, JAIL,
           f"Create new namespaces, for example uts,pid,mount. NAMES is a comma-separated list of {_NAMESPACES}.",
           metavar="NAMES", repeatable=True, usual=True),
    Option("jailed", "jailed", boolean, JAIL, "Run the post-jail hooks even without unshare.", bare="true"),
    Option("chroot", "chroot", directory, JAIL, "Make DIR the root directory.", metavar="DIR", usual=True),
    Option("pivot-root", "pivot_root", new_and_old_root, JAIL,
           "Make the mount NEW the root, and move the old root to the directory OLD below NEW.", metavar="NEW OLD",
           aliases=("pivot_root",)),
    Option("unshare2", "unshare2", namespaces, JAIL,
           "Create more namespaces, after the change of root.", metavar="NAMES", repeatable=True),
    *(Option(f"wait-for-{kind}", "waits", one(waits.parse(kind)), JAIL,
             f"Wait until {what}, before the as-root hooks run.", metavar=metavar, repeatable=True, aliases=aliases)
      for kind, what, metavar, aliases in (
          ("interface", "network interface NAME exists", "NAME", ("wait-interface", "wait-for-iface", "wait-iface")),
          ("fs", "PATH exists", "PATH", ()), ("file", "PATH is a regular file", "PATH", ()),
          ("dir", "PATH is a directory", "PATH", ()), ("mountpoint", "PATH is a mount point", "PATH", ()))),
    Option("wait-for-interface-timeout", "wait_interface_seconds", seconds, JAIL,
           "Wait at most TIME for wait-for-interface.", metavar="TIME", default="60s",
           aliases=("wait-interface-timeout", "wait-for-iface-timeout", "wait-iface-timeout")),
    Option("wait-for-fs-timeout", "wait_fs_seconds", seconds, JAIL,
           "Wait at most TIME for each of wait-for-fs, -file, -dir and -mountpoint.", metavar="TIME", default="60s"),
    Option("wait-for-socket", "waits", one(waits.parse("socket")), JAIL,
           "Wait until a server accepts connections at ADDRESS, after the as-user hooks have run.", metavar="ADDRESS",
           repeatable=True),
    Option("wait-for-socket-timeout", "wait_socket_seconds", seconds, JAIL,
           "Wait at most TIME for each wait-for-socket.", metavar="TIME", default="60s"),
    Option("immediate-uid", "immediate_uid", user, JAIL,
           "Become USER before anything else, including sockets and hooks.", metavar="USER"),
    Option("immediate-gid", "immediate_gid", group, JAIL,
           "Become GROUP before anything else, including sockets and hooks.", metavar="GROUP"),
    Option("uid", "uid", user, JAIL,
           "Run as USER, a name or a number. Sets HOME, USER, LOGNAME, SHELL and MAIL to match.", metavar="USER",
           usual=True),
    Option("gid", "gid", group, JAIL,
           "Run as GROUP, a name or a number. Default: the primary group of uid.", metavar="GROUP"),
    Option("add-gid", "add_gid", one(group), JAIL,
           "Add GROUP to the supplementary groups.", metavar="GROUP", repeatable=True),
    Option("no-initgroups", "no_initgroups", boolean, JAIL,
           "Leave out the supplementary groups of uid.", bare="true"),
    Option("cap", "cap", capabilities, JAIL,
           "Keep these capabilities, in the sessions too. NAMES is a comma-separated list such as net_raw,kill. No "
           "program in the jail can gain any other.", metavar="NAMES", repeatable=True),
    Option("umask", "umask", mode, JAIL, "Set the file mode creation mask, in octal.", metavar="MASK"),
    Option("chdir", "chdir", directory, JAIL, "Change to DIR in the jail; sessions start there.", metavar="DIR"),
    Option("chdir2", "chdir2", directory, JAIL, "Change to DIR after chdir.", metavar="DIR"),
    *(Option(f"{kind}-{phase}", "hooks", actions.parse(kind, phase), HOOKS, f"{what} {when}.", metavar=metavar,
             repeatable=True, usual=(kind, phase) == ("exec", "as-root"))
      for phase, when in (
          ("asap", "before anything else"),
          ("pre-jail", "before the jail is built"),
          ("in-jail", "right after the pre-jail hooks"),
          ("post-jail", "after unshare"),
          ("as-root", "before privileges are dropped"),
          ("as-user", "after privileges are dropped"),
          ("as-user-atexit", "when the router ends"))
      for kind, what, metavar in (
          ("hook", "Do ACTION", "ACTION:ARGUMENT"),
          ("mount", "Mount WHAT at WHERE", "TYPE WHAT WHERE [FLAGS [DATA]]"),
          ("umount", "Unmount WHERE", "WHERE [FLAGS]"),
          ("exec", "Run CMD through sh", "CMD"))
      if kind in ("hook", "exec") or "user" not in phase),
    Option("procname", "procname", text, PROCESS, "Show the router's processes as NAME in ps.", metavar="NAME"),
    Option("procname-master", "procname_master", text, PROCESS,
           "Show the supervisor as NAME in ps.", metavar="NAME"),
    Option("procname-prefix", "procname_prefix", text, PROCESS, "Put TEXT before the name in ps.", metavar="TEXT"),
    Option("procname-prefix-spaced", "procname_prefix", spaced, PROCESS,
           "Put TEXT and a space before the name in ps.", metavar="TEXT"),
    Option("procname-append", "procname_append", text, PROCESS, "Put TEXT after the name in ps.", metavar="TEXT"),
    Option("auto-procname", "auto_procname", boolean, PROCESS,
           "Name the processes in ps after what they do.", bare="true"),
    Option("ini", None, text, FILES,
           "Read settings from the [fastpty] section of an ini file, from [uwsgi] if there is none, or from SECTION.",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("json", None, text, FILES, "Read settings from a JSON file.",
           metavar="FILE[:NAME]", aliases=("js",), repeatable=True),
    Option("yaml", None, text, FILES, "Read settings from a YAML file. Needs PyYAML.",
           metavar="FILE[:NAME]", aliases=("yml",), repeatable=True),
    Option("toml", None, text, FILES, "Read settings from a TOML file.",
           metavar="FILE[:TABLE]", repeatable=True, own=True),
    Option("xml", None, text, FILES, "Read settings from an XML file in uWSGI's form.",
           metavar="FILE[:ID]", aliases=("xmlconfig",), repeatable=True),
    Option("include", None, text, FILES, "Read settings from a file whose name ends with its format.",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("inherit", None, text, FILES, "Like include, but read it after all others and do not expand its values.",
           metavar="FILE[:SECTION]", repeatable=True),
    Option("set", None, text, FILES, "Set an option, or a name for %(NAME).", metavar="NAME=VALUE", repeatable=True),
    Option("set-placeholder", None, text, FILES, "Set a name for %(NAME) that is not an option.",
           metavar="NAME=VALUE", aliases=("set-ph",), repeatable=True),
    Option("print", None, text, FILES, "Print TEXT to standard error.", metavar="TEXT", repeatable=True),
    Option("show-config", None, boolean, FILES, "Print all settings to standard error, as an ini file.", bare="true"),
    Option("check", None, boolean, FILES,
           "Check the configuration, print it, and exit. Shows where each value comes from.",
           bare="true", in_files=False, own=True, usual=True),
    Option("strict", "strict", boolean, GENERAL,
           "Refuse all unknown options in [uwsgi] sections, not only those that look misspelt.", bare="true"),
    Option("plugins", "plugins", comma_list, GENERAL, _NO_EFFECT + "the router needs no plugins.",
           metavar="NAMES", aliases=("plugin", "need-plugin", "need-plugins"), repeatable=True),
    Option("help", None, boolean, GENERAL, "Show the usual options and exit.", bare="true", in_files=False, usual=True),
    Option("help-all", None, boolean, GENERAL, "Show all options and exit.", bare="true", in_files=False, own=True,
           usual=True),
    Option("version", None, boolean, GENERAL, "Show the version and exit.", bare="true", in_files=False, usual=True),
)
# fmt: on

BY_NAME: dict[str, Option] = {name: option for option in OPTIONS for name in option.names}

MEANT_FOR_UWSGI = {"workers": "forkptyrouter-workers", "stats": "forkptyrouter-stats"}
"""Plain names that mean something else in uWSGI, and the names to use where uWSGI reads them too."""


def find(name: str, *, is_uwsgis: bool = False) -> Option | None:
    """The option of this name, or None. is_uwsgis: the name stands where uWSGI reads it too."""
    return None if is_uwsgis and name in MEANT_FOR_UWSGI else BY_NAME.get(name)
