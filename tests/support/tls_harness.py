"""Certificates made by openssl, and TLS clients that use them."""

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
    """A certificate authority, and the certificates that it issued, in a directory. All pass strict verification.

    Only the owner may write to the files, whatever the umask: a router refuses others.
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
        """Issues a certificate for NAME, valid for `seconds`; returns its file and the key's.

        names, extra: its alternative names. sections: the sections of openssl's configuration that these refer to.
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

# RFC 5280 requires these extensions; Python 3.13 and newer check them.
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
    """The context of a client with this certificate. Its settings do not depend on the version of Python."""
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
    """A TLS connection with a certificate for NAME, or the one in `files`."""
    files = files or (authority.give(name) if name is not None else None)
    context = client_context(authority, files)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.settimeout(30)
        yield connection


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    """Reads up to a close_notify; ssl raises if there is none."""
    data = b""
    connection.suppress_ragged_eofs = False
    while some := connection.recv(65536):
        data += some
    return data


def attached(
    authority: Authority, port: int, *options: str, text: bytes = b"", name: str = "alice", extra: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Runs a client with a certificate for NAME, with `extra` alternative names, that sends `text`, until it ends."""
    command = [*CLIENT, "connect", *options, *authority.options(name, extra), f"localhost:{port}"]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, timeout=60)


def proxy_of(router: Router) -> int:
    """The pid of the TLS process, the router's only process with no_new_privs."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in descendants(router.process.pid) if "\nNoNewPrivs:\t1\n" in status(pid)]
        return len(found) == 1

    eventually(is_there, "the proxy has started")
    return found[0]


def descendants(pid: int) -> list[int]:
    """The pids of all descendants: with a pid namespace, the supervisor is a child of the first process."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def status(pid: int) -> str:
    """/proc/PID/status; an empty text if the process is gone."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
