"""Clients of a shared terminal: the router's log and own terminal, uWSGI's client, and the router as a client."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.client_harness import terminal_client
from tests.support.harness import Client, Router, children, eventually
from tests.support.peers import need
from tests.support.shared_pty import Shared


def test_with_pty_log_the_output_also_goes_to_the_log(share: Callable[..., Shared]) -> None:
    shared = share(
        "--pty-log", "--pty-once", command="printf 'one\\033[31m two\\nthr'; printf 'ee\\nrest'; read line"
    )
    shared.router.wait_for_log("terminal: one\\\\x1b\\[31m two$")
    shared.router.wait_for_log("terminal: three$")
    with shared.join() as client:
        client.send(b"\n")
        client.read_to_end()
    shared.router.wait_for_log("end: exit, exit status 0")
    shared.router.end()
    assert "terminal: rest" in shared.router.log


def test_with_pty_input_the_router_s_own_terminal_is_a_client(directory: Path) -> None:
    path = f"{directory}/shared"
    command = [sys.executable, "-m", "fastpty.router", "--pty-socket", path, "--pty-input", "--env", "PS1=prompt:"]
    with terminal_client(command=command) as own:
        own.read_until(b"prompt:")
        eventually(lambda: own.is_raw, "the terminal is in raw mode")
        own.type(b"echo $((6*7))\r")
        own.read_until(b"\r\n42\r\n")
        with Client(path) as other:
            other.read_until(b"\r\n42\r\n")
            other.send(b"echo fr''om other\n")
            own.read_until(b"from other\r\n")
            own.type(b"\x03\r~.")
            own.read_until(b"disconnected; the shared terminal keeps running")
            eventually(lambda: own.modes_are_as_before, "the terminal has its modes back")
            other.send(b"echo sti''ll\n")
            other.read_until(b"still\r\n")
        eventually(lambda: len(children(own.pid)) == 1, "the client's process is reaped, the program runs")
        own.type(b"\x03")
        assert own.wait() == 0


def test_a_stop_restores_the_modes_of_the_router_s_own_terminal(directory: Path) -> None:
    command = [sys.executable, "-m", "fastpty.router", "--pty-socket", f"{directory}/shared", "--pty-input"]
    with terminal_client(command=command) as own:
        own.read_until(b"start: the shared terminal")
        eventually(lambda: own.is_raw, "the terminal is in raw mode")
        own.signal(signal.SIGTERM)
        assert own.wait() == 0
        assert own.modes_are_as_before


def test_uwsgi_s_client_and_ours_share_a_terminal(share: Callable[..., Shared]) -> None:
    shared = share()
    uwsgi = [need("uwsgi"), "--plugins", "pty", "--pty-no-isig", "--pty-connect", shared.path]
    ours = [sys.executable, "-m", "fastpty", "--pty-connect", shared.path]
    router = [sys.executable, "-m", "fastpty.router", "--pty-no-isig", "--pty-connect", shared.path]
    with (
        terminal_client(command=uwsgi) as one,
        terminal_client(command=ours) as two,
        terminal_client(command=router) as three,
    ):
        clients = (one, two, three)
        for number, typist in enumerate(clients):
            typist.type(b"echo $((%d+1000))\r" % number)
            for client in clients:
                client.read_until(b"%d\r\n" % (number + 1000))  # a prompt may come late, just before it
        one.type(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\r")
        three.read_until(b"started\r\n")
        three.type(b"\x03")
        one.read_until(b"^C")


def test_fastpty_router_with_pty_connect_exits_with_the_client_s_status(directory: Path) -> None:
    command = [sys.executable, "-m", "fastpty.router", "--pty-connect", f"{directory}/nothing"]
    with terminal_client(command=command) as client:
        client.read_until(b"no such socket: is the router running?")
        assert client.wait() == 255


def test_fastpty_router_with_pty_uconnect_speaks_the_uwsgi_protocol(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router("--forkpty-urouter", f"{directory}/u", "--env", "PS1=prompt:")
    command = [sys.executable, "-m", "fastpty.router", "--pty-uconnect", f"{directory}/u"]
    with terminal_client(command=command, rows=43, columns=132) as client:
        client.read_until(b"prompt:")
        client.type(b"stty size; exit\r")
        client.read_until(b"43 132\r\n")
        assert client.wait() == 0
