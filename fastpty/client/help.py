"""What --help shows for each command, at most 79 columns wide."""

_DESCRIPTION = """\
Attaches this terminal to a shell, or another program, behind a router's
socket."""

_EXIT_STATUS = """\
Exit status: the program's own, or 128 + N when signal N ended it; 127 when the
command was not found, 126 when it cannot be executed; 255 when the session
could not begin, broke, lost output, or was ended by the router or by you; 2
for bad usage. uWSGI's protocols do not report how the program ended: then the
status is 0 when the session has ended.
"""

_FASTPTY = f"""\
usage: fastpty COMMAND [OPTION]... ADDR [-- PROGRAM [ARG]...]
       fastpty --help | --version

{_DESCRIPTION}

Commands:
  connect               attach to a router's socket
  exec                  run a command without a terminal, for scripts and pipes
  cp                    copy files to and from the place where the router runs
  uconnect              the same as connect --uwsgi
`fastpty COMMAND --help` shows the options.

uWSGI's spellings work, too:
  --pty-connect ADDR    the same as connect ADDR
  --pty-uconnect ADDR   the same as connect --uwsgi ADDR
  --pty-no-isig         accepted and ignored: ^C, ^\\ and ^Z always go to the
                        remote terminal

Examples:
  fastpty connect /tmp/fpty.socket          a shell
  fastpty connect /tmp/fpty.socket -- top   a program of your choice
  fastpty connect --uwsgi /tmp/fpty.socket  a shell of uWSGI's uwsgi router
  echo hostname | fastpty connect @jail     input from a pipe
  tar c . | fastpty exec @jail -- tar x -C /d   a command in a pipeline

{_EXIT_STATUS}"""

_CONNECT = f"""\
usage: fastpty connect [OPTION]... ADDR [-- PROGRAM [ARG]...]

{_DESCRIPTION}
ADDR is a path, @name, HOST:PORT, :PORT or [IPV6]:PORT. PROGRAM takes the place
of the router's own, if the router allows that.

Options:
  -e NAME=VALUE         set a variable for the program; can be repeated
  -e CHAR               use CHAR as the escape character, `none` for no escapes
                        (default: ~)
  -w DIR                run the program in DIR
  --raise               end by the signal that ended the program
  --status-fd FD        write to descriptor FD how the session ended, as a line
                        of JSON
  --protocol NAME       auto: find out what the router speaks (default); fpty:
                        fastpty's own protocol, for an fpty-router address
                        over TCP or behind a proxy; raw, uwsgi: uWSGI's
                        protocols
  --uwsgi               speak the uwsgi protocol, not raw, with routers that do
                        not speak fastpty's own (--listen-uwsgi sockets)
  -n                    read no input: the session's input ends at once
  -q                    show errors only
  -v                    show who is listening at ADDR, and at the end how much
                        was sent and received
  --connect-timeout SECONDS
                        fail when the router has not accepted the connection,
                        with TLS also finished its handshake, within SECONDS;
                        0 waits forever (default: 10)
  --tls-cert FILE       speak TLS, with this certificate (PEM)
  --tls-key FILE        the certificate's key
  --tls-ca FILE         the authorities that may sign the router's certificate
  --tls-name NAME       the name in the router's certificate (default: the host
                        in ADDR)
  -h, --help            show this help

^C, ^\\ and ^Z go to the remote terminal. At the beginning of a line, these keys
are for the client itself:
  ~.  disconnect        ~^Z  suspend the client     ~#  show the connection
  ~?  show this list    ~~   send one ~

{_EXIT_STATUS}"""

_EXEC = f"""\
usage: fastpty exec [OPTION]... ADDR -- PROGRAM [ARG]...

Runs PROGRAM at a router without a terminal: its input, output and error output
are those of this command, byte for byte. ADDR is as for fastpty connect. The
router must speak fastpty's own protocol and let clients choose a command.

Options:
  -i                    pass standard input on (the default, unless it is a
                        terminal)
  -n                    pass no input on
  -t                    run PROGRAM on a terminal, as fastpty connect does
  -e NAME=VALUE         set a variable for the program; can be repeated
  -w DIR                run the program in DIR
  --merge-stderr        send standard error to standard output, in order
  --drain MS            when PROGRAM has ended, and other processes still have
                        its output open, wait MS milliseconds for its end; -1
                        waits forever (default: 1000)
  --timeout SECONDS     hang the program up, and fail, after SECONDS
  --raise, --status-fd FD, --protocol NAME, -q, -v, --connect-timeout SECONDS,
  --tls-cert FILE, --tls-key FILE, --tls-ca FILE, --tls-name NAME
                        as for fastpty connect
  -h, --help            show this help

^C sends SIGINT to PROGRAM; a second one within a second disconnects.

{_EXIT_STATUS}"""

_CP = """\
usage: fastpty cp [OPTION]... ADDR SRC... :DST
       fastpty cp [OPTION]... ADDR :SRC... DST

Copies files and directories to and from the place where the router runs. A
path with a colon in front is one at the router; a relative one begins where
its sessions begin. Nothing needs to be installed there: no shell, no tar. A
file is complete or not there at all. The router must speak fastpty's own
protocol and let clients choose a command. The local path `-` is a tar archive
on standard input or output.

Permissions and times of modification are kept, owners are not. Symbolic links
are copied as links if they stay within what is copied. Devices, sockets and
pipes are left out.

Options:
  -w DIR                begin relative paths at the router in DIR
  -q                    show errors only; no progress
  --protocol NAME, -v, --connect-timeout SECONDS,
  --tls-cert FILE, --tls-key FILE, --tls-ca FILE, --tls-name NAME
                        as for fastpty connect
  -h, --help            show this help

Exit status: 0 when everything was copied; 1 when something was not; 255 when
the session could not begin or broke; 2 for bad usage.
"""

TEXTS = {
    "fastpty": _FASTPTY,
    "fastpty connect": _CONNECT,
    "fastpty exec": _EXEC,
    "fastpty cp": _CP,
    "fastpty uconnect": _CONNECT.replace("fastpty connect", "fastpty uconnect", 1),
}
