"""Certificates made by openssl, and clients that show them."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.client_harness import CLIENT, ROOT
from tests.harness import Router, children, eventually
from tests.peers import need


class Authority:
    """A certificate authority in a directory, and the certificates that it gave."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.certificate = directory / f"{name}.pem"
        self._name = name
        self._openssl(
            "req", "-x509", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 and newer insist on it
            "-keyout", f"{name}.key", "-out", f"{name}.pem", *_NEW_KEY,
        )  # fmt: skip

    def give(self, name: str, extra: str = "") -> tuple[str, str]:
        """The certificate and the key of NAME, also for 127.0.0.1."""
        extensions = f"authorityKeyIdentifier=keyid\nsubjectAltName=DNS:localhost,IP:127.0.0.1{extra}\n"
        self._openssl("req", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", *_NEW_KEY)
        (self.directory / "extensions").write_text(extensions)
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key",
            "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem",
        )  # fmt: skip
        return f"{self.directory}/{name}.pem", f"{self.directory}/{name}.key"

    def options(self, name: str, extra: str = "") -> list[str]:
        certificate, key = self.give(name, extra)
        return ["--tls-cert", certificate, "--tls-key", key, "--tls-ca", str(self.certificate)]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run([need("openssl"), *arguments], cwd=self.directory, check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@contextmanager
def connected(authority: Authority, port: int, name: str | None = "alice") -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if name is not None:
        context.load_cert_chain(*authority.give(name))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.settimeout(30)
        yield connection


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    """Up to a close_notify: where that is missing ssl raises."""
    data = b""
    connection.suppress_ragged_eofs = False
    while some := connection.recv(65536):
        data += some
    return data


def attached(
    authority: Authority, port: int, *options: str, text: bytes = b"", name: str = "alice", extra: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """A client's whole life: it shows the certificate of NAME, with `extra` alternative names, and sends `text`."""
    command = [*CLIENT, "connect", *options, *authority.options(name, extra), f"localhost:{port}"]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, timeout=60)


def proxy_of(router: Router) -> tuple[int, int]:
    """The process that looks after the proxy, which is the supervisor's first child, and the proxy."""
    keeper = children(router.process.pid)[0]
    eventually(lambda: children(keeper), "the proxy has started")
    (proxy,) = children(keeper)
    return keeper, proxy
