"""What --help shows for each command, at most 79 columns wide."""

_DESCRIPTION = """\
Attaches this terminal to a shell, or another program, behind a router's
socket."""

_EXIT_STATUS = """\
Exit status: 0 when the session ended; 255 when it could not begin, broke, was
ended by the router or by you; 2 for bad usage.
"""

_FASTPTY = f"""\
usage: fastpty COMMAND [OPTION]... ADDR
       fastpty --help | --version

{_DESCRIPTION}

Commands:
  connect               attach to a router's socket
  uconnect              the same as connect --uwsgi
`fastpty COMMAND --help` shows the options.

uWSGI's spellings work, too:
  --pty-connect ADDR    the same as connect ADDR
  --pty-uconnect ADDR   the same as connect --uwsgi ADDR
  --pty-no-isig         accepted and ignored: ^C, ^\\ and ^Z always go to the
                        remote terminal

Examples:
  fastpty connect /tmp/fpty.socket          a shell, over the raw protocol
  fastpty connect --uwsgi /tmp/fpty.socket  the same, and resizing works
  echo hostname | fastpty connect @jail     input from a pipe

{_EXIT_STATUS}"""

_CONNECT = f"""\
usage: fastpty connect [OPTION]... ADDR

{_DESCRIPTION}
ADDR is a path, @name, HOST:PORT, :PORT or [IPV6]:PORT.

Options:
  --uwsgi               speak the uwsgi protocol (--forkpty-urouter sockets)
  -e CHAR               use CHAR as the escape character, `none` for no escapes
                        (default: ~)
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

TEXTS = {
    "fastpty": _FASTPTY,
    "fastpty connect": _CONNECT,
    "fastpty uconnect": _CONNECT.replace("fastpty connect", "fastpty uconnect", 1),
}
