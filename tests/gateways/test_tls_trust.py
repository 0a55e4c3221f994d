"""Which certificates and which ends of a connection are trusted."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import Router, eventually
from tests.support.tls_harness import Authority, attached, client_context, connected, read_to_end

Start = Callable[..., tuple[Router, int]]

REFUSAL = b"fastpty: refused: no name of your certificate is allowed to connect\r\n"


def session_with(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
    """Gets a session, and returns the TLS session for a resumption; raises OSError if that fails."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.settimeout(30)
        assert connection.recv(1) == b"R"
        return connection.session


def test_an_expired_certificate_gets_no_session_by_tls_resumption(tls_router: Start, authority: Authority) -> None:
    _, port = tls_router("--forkptyrouter-command", "printf R; cat")
    for seconds in (3, 10, 60):  # a slow machine needs longer for the first session
        context = client_context(authority, authority.give("alice", seconds=seconds))
        expiry = time.time() + seconds + 1
        try:
            before = session_with(context, port)
            break
        except ssl.SSLError:
            continue
    eventually(lambda: time.time() > expiry, "the certificate has expired", seconds=90)
    for session in (None, before):
        with pytest.raises(ssl.SSLError, match="certificate expired"):
            session_with(context, port, session)


def test_a_name_that_is_no_longer_allowed_gets_no_session_by_tls_resumption(
    tls_router: Start, authority: Authority
) -> None:
    files = authority.give("alice")
    context = client_context(authority, files)
    router, port = tls_router("--allow-tls-name", "alice", "--forkptyrouter-command", "printf R; cat")
    before = session_with(context, port)
    router.end()
    _, port = tls_router("--allow-tls-name", "bob", "--forkptyrouter-command", "printf R; cat")
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=before) as connection,
    ):
        assert read_to_end(connection) == REFUSAL


def test_output_that_was_cut_is_no_end_of_the_session_for_the_client(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.give("server"))

    def cut(listener: socket.socket) -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(b"half")
            socket.socket.shutdown(connection, socket.SHUT_WR)  # ends TCP without close_notify
            with suppress(BrokenPipeError):  # OpenSSL may answer, and this side can send no more
                connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=cut, args=(listener,))
        server.start()
        ended = attached(authority, listener.getsockname()[1])
        server.join()
    assert b"the connection broke: it was cut off" in ended.stderr
    assert (ended.stderr.count(b"\n"), ended.returncode) == (1, 255)


def test_a_configuration_of_openssl_and_the_environment_change_nothing(
    tls_router: Start, authority: Authority, directory: Path
) -> None:
    """They change neither the version of TLS nor the secrecy of the session keys."""
    settings = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n"
    (directory / "openssl.cnf").write_text(settings)
    keys = directory / "keys"
    environment = {"OPENSSL_CONF": f"{directory}/openssl.cnf", "SSLKEYLOGFILE": str(keys)}
    _, port = tls_router("--forkptyrouter-command", "echo IN", env=environment)
    with connected(authority, port) as connection:
        assert connection.version() == "TLSv1.3"
        assert read_to_end(connection) == b"IN\r\n"
    assert not keys.exists()


ODD = {
    "a directory name": (",dirName:inner", "[inner]\nCN = bob\n"),
    "another kind": (",otherName:1.2.3.4;UTF8:bob,RID:1.2.3.4", ""),
    "a NUL byte": (",DNS:bob\\0.example.org", ""),
    "line ends and escapes": (",URI:bob\\nsession 7: start\\t\x1b[2J", ""),
    "a thousand": ("," + ",".join(f"DNS:host-{number}" for number in range(1000)), ""),
    "an address": (",IP:::1,URI:urn:x,email:a@b.example", ""),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_certificate_with_odd_names_is_taken_by_those_that_are_allowed_and_leaves_no_traceback(
    tls_router: Start, authority: Authority, odd: str
) -> None:
    extra, sections = ODD[odd]
    router, port = tls_router("--allow-tls-name", "alice", "--forkptyrouter-command", "echo IN")
    for name, said in (("alice", b"IN\r\n"), ("carol", REFUSAL)):
        files = authority.give(name, extra, sections=sections)
        with connected(authority, port, files=files) as connection:
            assert read_to_end(connection) == said
    router.end()
    refused = [line for line in router.lines if "refused:" in line]
    assert len(refused) == 1
    assert "(carol, localhost, 127.0.0.1" in refused[0]
    assert "Traceback" not in router.log
    assert "internal error" not in router.log


# In DER: an address of three bytes, and one of mail that is not ASCII.
SHORT_ADDRESS = "DER:30058703010203"
NOT_TEXT = "DER:30038101ff"


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ("DNS:x,otherName:1.2.3.4;UTF8:bob", "<unsupported>"),
        (SHORT_ADDRESS, "<invalid>"),
        ("DNS:x,RID:1.2.3", "1.2.3"),
    ],
)
def test_python_s_description_of_an_unprintable_name_is_not_a_name(
    tls_router: Start, authority: Authority, names: str, allowed: str
) -> None:
    _, port = tls_router("--allow-tls-name", allowed, "--forkptyrouter-command", "echo IN")
    with connected(authority, port, files=authority.give("carol", names=names)) as connection:
        assert read_to_end(connection) == REFUSAL


def test_a_certificate_whose_name_is_no_text_is_refused_in_one_line(tls_router: Start, authority: Authority) -> None:
    router, port = tls_router("--forkptyrouter-command", "echo IN")
    with connected(authority, port, files=authority.give("alice", names=NOT_TEXT)) as connection:
        assert read_to_end(connection) == REFUSAL
    router.wait_for_log(r"TLS client 127.0.0.1 port \d+ \(\): refused: a name of its certificate is not UTF-8")
    assert "Traceback" not in router.log


@pytest.mark.parametrize("name", [".x", "x" * 64, "\udcff"])
def test_the_client_reports_a_name_that_no_certificate_can_have_in_one_line(
    tls_router: Start, authority: Authority, name: str
) -> None:
    _, port = tls_router()
    command = [*CLIENT, "connect", "--tls-name", name, *authority.options("alice"), f"127.0.0.1:{port}"]
    ended = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True, timeout=60)
    assert (ended.stdout, ended.stderr.count(b"\n")) == (b"", 1), ended.stderr
    assert ended.returncode in (2, 255)
