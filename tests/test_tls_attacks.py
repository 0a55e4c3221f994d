"""TLS clients that would keep what they have been given for longer than is their due."""

from __future__ import annotations

import select
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress

from tests.client_harness import CLIENT, ROOT
from tests.harness import Router, eventually
from tests.key_updates import Asker
from tests.tls_harness import Authority, connected, read_to_end


def hasty(name: str, seconds: float) -> list[str]:
    """A router that has one of its times with TLS cut short, so that a test need not wait for it."""
    return ["-c", f"import sys; from fastpty import router, tls; tls.{name} = {seconds}; sys.exit(router.main())"]


MUCH = 2 << 20  # several times of what the buffers on the way hold

# A ClientHello of 64 KiB, each byte in a record of its own: a handshake that goes on for as long as one likes.
LONG_HELLO = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in b"\x01\x01\x00\x00\x03\x03" + bytes(65534))


def test_a_handshake_that_trickles_ends_in_time_and_who_waits_is_served(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    options = ("--max-startups", "1", "--forkptyrouter-command", "echo IN")
    router, port = tls_router(*options, program=hasty("_HANDSHAKE_SECONDS", 3))
    command = [*CLIENT, "connect", *authority.options("alice"), f"localhost:{port}"]
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.sendall(LONG_HELLO[:1])
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as polite:
            with suppress(ConnectionError):
                for byte in LONG_HELLO[1:]:
                    slow.send(bytes([byte]))
                    if polite.poll() is not None:
                        break
                    select.select([], [], [], 0.002)
            assert polite.communicate(timeout=60)[0] == b"IN\r\n"
    router.wait_for_log(r"TLS client 127.0.0.1 port \d+: no session: timed out")


def test_who_was_refused_and_goes_on_sending_is_cut_off(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = tls_router("--allow-tls-name", "bob")
    with connected(authority, port, "alice") as connection:
        assert read_to_end(connection).startswith(b"fastpty: refused")

        def cut_off() -> bool:
            try:
                socket.socket.send(connection, b"x")
            except ConnectionError:
                return True
            return False

        eventually(cut_off, "the connection is cut off")


def test_who_asks_for_new_keys_without_reading_the_answers_waits_and_loses_nothing(
    start_router: Callable[..., Router], authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as network:
        for end in (server, network):  # so that the kernel holds little on the way
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        options = ("--session-buffer", "4K", "--forkptyrouter-command", "exec cat")
        start_router(f"fd://{server.fileno()}", *authority.options("server"), *options, pass_fds=[server.fileno()])
        network.connect(server.getsockname())
        asker = Asker(authority, network)
        assert asker.ask_until_refused(MUCH) < MUCH
        asker.converse(b"still here\n", until=b"still here\r\nstill here\r\n")
