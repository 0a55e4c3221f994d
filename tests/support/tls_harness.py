"""Certificates made by openssl, and clients that show them."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.client_harness import CLIENT, ROOT
from tests.support.harness import Router, children, eventually
from tests.support.peers import need

_OWN_NAMES = "DNS:localhost,IP:127.0.0.1"


class Authority:
    """A certificate authority in a directory, and the certificates that it gave. All of it passes strict checks.

    Whatever the umask is, only the files' owner may write to them: a router refuses others.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.certificate = directory / f"{name}.pem"
        self._name = name
        (directory / "authority.cnf").write_text(_SETTINGS.format(name=name))
        (directory / "index.txt").touch()
        self._openssl(
            "req", "-x509", "-config", "authority.cnf", "-extensions", "authority", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", *_NEW_KEY,
        )  # fmt: skip

    def give(
        self, name: str, extra: str = "", *, seconds: int = 2 * 86400, sections: str = "", names: str = _OWN_NAMES
    ) -> tuple[str, str]:
        """The certificate and the key of NAME, valid for `seconds`.

        names: its alternative names, and extra: more of them. sections: what these refer to in openssl's configuration.
        """
        certificate, key = f"{name}.pem", f"{name}.key"
        self._openssl(
            "req", "-new", "-config", "authority.cnf", "-utf8", "-subj", f"/CN={name}",
            "-keyout", key, "-out", f"{name}.csr", *_NEW_KEY,
        )  # fmt: skip
        (self.directory / "extensions").write_text(_EXTENSIONS.format(names=names + extra) + sections)
        end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))
        self._openssl(
            "ca", "-batch", "-config", "authority.cnf", "-extfile", "extensions", "-in", f"{name}.csr",
            "-out", certificate, "-notext", "-utf8", "-preserveDN", "-enddate", end,
        )  # fmt: skip
        return f"{self.directory}/{certificate}", f"{self.directory}/{key}"

    def options(self, name: str, extra: str = "") -> list[str]:
        certificate, key = self.give(name, extra)
        return ["--tls-cert", certificate, "--tls-key", key, "--tls-ca", str(self.certificate)]

    def _openssl(self, *arguments: str) -> None:
        command = [need("openssl"), *arguments]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, errors="replace", umask=0o022
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

# RFC 5280 wants these extensions, and Python 3.13 and newer insist on them.
_SETTINGS = """
[ca]
default_ca = settings
[settings]
database = index.txt
new_certs_dir = .
certificate = {name}.pem
private_key = {name}.key
default_md = sha256
policy = policy
unique_subject = no
rand_serial = yes
[policy]
commonName = optional
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""
_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {names}
"""


def client_context(authority: Authority, files: tuple[str, str] | None) -> ssl.SSLContext:
    """Of a client that shows this certificate with its key. All versions of Python have the same settings here."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if files is not None:
        context.load_cert_chain(*files)
    return context


@contextmanager
def connected(
    authority: Authority, port: int, name: str | None = "alice", *, files: tuple[str, str] | None = None
) -> Iterator[ssl.SSLSocket]:
    """A connection that shows a certificate of NAME, or the one in `files`."""
    files = files or (authority.give(name) if name is not None else None)
    context = client_context(authority, files)
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


def proxy_of(router: Router) -> int:
    """The process that ends TLS: the only one of the router that has given up all ways to gain rights."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in descendants(router.process.pid) if "\nNoNewPrivs:\t1\n" in status(pid)]
        return len(found) == 1

    eventually(is_there, "the proxy has started")
    return found[0]


def descendants(pid: int) -> list[int]:
    """Its children, and theirs, as a router in a pid namespace has a supervisor within."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def status(pid: int) -> str:
    """What /proc tells of a process; nothing of one that has gone."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
