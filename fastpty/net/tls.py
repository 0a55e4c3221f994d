"""TLS for TCP: what both ends need, and the pump that stands between a TLS connection and a plain socket.

Only TLS 1.3, and only with certificates on both sides. A half-close is TLS's close_notify, which ends one direction
alone (RFC 8446, 6.1). Where a connection ends without one it was cut, and that is never taken for an end of input.
"""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import os
import select
import socket
import ssl
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

from fastpty.errors import UsageError
from fastpty.net.tls_files import Identity, read_pem

_CHUNK_BYTES = 65536
_HIGH_WATER_BYTES = 262144
_HANDSHAKE_SECONDS = 10.0
_LINGER_SECONDS = 2.0
# Of what is left when nobody is at the plain end any more so much must be taken in so many seconds: a modem could, and
# so can who reads it page by page.
_LEFTOVER_SECONDS = 60.0
_LEFTOVER_BYTES = 8192


def context_of(identity: Identity, *, server: bool) -> ssl.SSLContext:
    """For connections whose other end must show a certificate, too. Raises UsageError for a file that is no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    _set_up(context, server=server)
    try:
        with _as_file(read_pem("tls-ca", identity.authorities)) as path:
            context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"tls-ca: {identity.authorities} cannot be used: {reason(error)}") from error
    chain, key = read_pem("tls-cert", identity.certificate), read_pem("tls-key", identity.key, is_secret=True)
    try:
        with _as_file(chain) as chain_path, _as_file(key) as key_path:
            # Never ask for a passphrase: there may be nobody to ask.
            context.load_cert_chain(chain_path, key_path, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        files = f"{identity.certificate} with {identity.key}"
        raise UsageError(f"tls-cert and tls-key: {files} cannot be used: {reason(error)}") from error
    return context


def _set_up(context: ssl.SSLContext, *, server: bool) -> None:
    """Sets everything that matters, since defaults differ between versions of Python, OpenSSL and openssl.cnf."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # An authority that an organization already has may lack extensions that strict checks want.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    context.post_handshake_auth = False
    context.set_ciphers("DEFAULT:@SECLEVEL=2")  # for TLS 1.3 this rules out weak certificates only
    # Set by default in Python 3.11.2: TCP's end alone would pass for the end of the input.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if server:
        # A client that resumes a session shows no certificate, so nobody would see that it has expired.
        context.num_tickets = 0


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path at which OpenSSL finds exactly this, whatever has become of the file that it was read from."""
    with open(os.memfd_create("fastpty-pem", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


# The kinds of alternative names that are a text. Python describes others in words of its own, or as nested tuples.
_NAME_KINDS = frozenset({"DNS", "email", "URI", "IP Address"})
_NO_ADDRESS = "<invalid>"


def certificate_names(certificate: dict[str, Any] | None) -> list[str]:
    """The names of a verified certificate: its subject's common names, then those alternative names that are a text."""
    found: list[str] = []
    for part in (certificate or {}).get("subject", ()):
        found += [value for kind, value in part if kind == "commonName"]
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind in _NAME_KINDS and value != _NO_ADDRESS:
            found.append(value)
    return list(dict.fromkeys(found))


class Pump:
    """Moves bytes between a TLS connection and a plain socket, with bounded buffers, each direction by itself.

    It closes neither. `network` is a connected TCP socket. A direction that holds `high_water_bytes` reads no more.
    """

    def __init__(
        self,
        network: _socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        high_water_bytes: int = _HIGH_WATER_BYTES,
    ) -> None:
        self._network = network
        self._high_water_bytes = high_water_bytes
        self._received, self._encrypted = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._received, self._encrypted, server_side=server_side, server_hostname=server_name
        )
        self._to_network = bytearray()
        self._to_plain = bytearray()
        self._network_open = True  # the other end has not said goodbye
        self._plain_open = True
        self._said_goodbye = False
        self._sent = 0
        self._taken = 0  # when that was last looked at
        self._look_at: float | None = None  # nobody is at the plain end any more

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The other end's, once hands were shaken. Raises ValueError where Python cannot decode it."""
        return self._tls.getpeercert()

    def shake_hands(self) -> None:
        """Raises OSError (ssl.SSLError is one) if that fails or takes longer than ten seconds."""
        deadline = time.monotonic() + _HANDSHAKE_SECONDS
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            finally:  # an alert says what is wrong
                self._network.settimeout(_left(deadline))
                self._network.sendall(self._encrypted.read())
            if not done:
                self._network.settimeout(_left(deadline))
                data = self._network.recv(_CHUNK_BYTES)
                if not data:
                    raise ConnectionError("the other side closed the connection during the handshake")
                self._received.write(data)

    def say(self, text: bytes) -> None:
        """The text, and goodbye."""
        self._network.settimeout(_HANDSHAKE_SECONDS)
        self._tls.write(text)
        self._say_goodbye()
        self._network.sendall(self._to_network)
        self.part()

    def run(self, plain: socket.socket) -> None:
        """Returns when all is said in both directions, or nobody is at the plain end and what came from there is sent.

        Raises OSError if TLS breaks, TimeoutError where the other side does not take that in good time.
        """
        self._network.setblocking(False)
        plain.setblocking(False)
        self._decrypt()
        self._pass_on(plain)
        while not self._finished():
            events = self._wait(plain)
            if self._network.fileno() in events:
                self._receive()
            if events.get(plain.fileno(), 0) & select.POLLHUP:
                self._hang_up()
            if events.get(plain.fileno(), 0) & select.POLLOUT:
                self._write(plain)
            if events.get(plain.fileno(), 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read(plain)
            self._pass_on(plain)

    def part(self) -> None:
        """Lets the other side read what it was sent: closing at once would make TCP throw that away (RFC 1122)."""
        deadline = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self._network.shutdown(socket.SHUT_WR)
            while True:
                self._network.settimeout(_left(deadline))
                if not self._network.recv(_CHUNK_BYTES):
                    return

    def _finished(self) -> bool:
        under_way = self._network_open or self._plain_open or self._to_plain or self._to_network
        return self._said_goodbye and not under_way

    def _wait(self, plain: socket.socket) -> dict[int, int]:
        """Polls for what can be used, and for the plain end's hang-up, which then would be reported again and again."""
        poll = select.poll()
        wanted = (select.POLLIN if self._has_room() else 0) | (select.POLLOUT if self._to_network else 0)
        if wanted:
            poll.register(self._network, wanted)
        wanted = (select.POLLIN if self._may_read() else 0) | (select.POLLOUT if self._to_plain else 0)
        if wanted or self._look_at is None:
            poll.register(plain, wanted)
        return dict(poll.poll(self._patience_ms()))

    def _hang_up(self) -> None:
        """Nobody is at the plain end: what the network says is for nobody, and the rest is to be taken in time."""
        self._network_open = False
        self._to_plain.clear()
        if self._look_at is None:
            self._look()

    def _look(self) -> None:
        """At how much the other side has received: the kernel's own buffer can hold more than a slow link carries."""
        unacknowledged = fcntl.ioctl(self._network, termios.TIOCOUTQ, bytes(4))
        self._taken = self._sent - int.from_bytes(unacknowledged, sys.byteorder)
        self._look_at = time.monotonic() + _LEFTOVER_SECONDS

    def _patience_ms(self) -> float | None:
        """How long to wait for events. Raises TimeoutError where too little was taken since the last look."""
        if self._look_at is None:
            return None
        if time.monotonic() >= self._look_at:
            before = self._taken
            self._look()
            if self._taken - before < _LEFTOVER_BYTES:
                raise TimeoutError("what was left to be read when the session had ended was not read in time")
        return max(0.0, self._look_at - time.monotonic()) * 1000

    def _pass_on(self, plain: socket.socket) -> None:
        """What needs no waiting: ends are told when all before them was, and TLS's bytes are sent."""
        all_read = not (self._network_open and self._received.pending)
        if not self._plain_open and not self._said_goodbye and all_read:
            self._say_goodbye()
        if self._to_network:
            with contextlib.suppress(BlockingIOError):
                sent = self._network.send(self._to_network[:_CHUNK_BYTES])
                self._sent += sent
                del self._to_network[:sent]
        if not self._network_open and not self._to_plain:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_WR)

    def _has_room(self) -> bool:
        """For more from the network. A direction does not wait for the other; but what is to be sent beyond what the
        plain side may add is TLS's own answers, and who asks for those (KeyUpdate) must read them, too.
        """
        without_answers = self._high_water_bytes + 2 * _CHUNK_BYTES
        has_room = len(self._to_plain) < self._high_water_bytes and len(self._to_network) < without_answers
        return self._network_open and has_room

    def _receive(self) -> None:
        if not self._has_room():
            return
        try:
            data = self._network.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()
        self._decrypt()

    def _decrypt(self) -> None:
        while self._network_open and len(self._to_plain) < self._high_water_bytes:
            try:
                data = self._tls.read(_CHUNK_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if not _is_end_of_tcp(error):
                    raise
                raise ConnectionError("it was cut off: the other side did not say goodbye") from None
            self._to_plain += data
            self._network_open = bool(data)
        self._to_network += self._encrypted.read()  # an answer of TLS's own, such as a new key

    def _may_read(self) -> bool:
        return self._plain_open and len(self._to_network) < self._high_water_bytes

    def _read(self, plain: socket.socket) -> None:
        if not self._may_read():
            return
        try:
            data = plain.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._tls.write(data)
            self._to_network += self._encrypted.read()
        self._plain_open = bool(data)

    def _write(self, plain: socket.socket) -> None:
        try:
            del self._to_plain[: plain.send(self._to_plain[:_CHUNK_BYTES])]
        except BlockingIOError:
            return
        except OSError:  # it takes no more, but may have something to say
            self._to_plain.clear()
            self._network_open = False
        self._decrypt()

    def _say_goodbye(self) -> None:
        self._said_goodbye = True
        with contextlib.suppress(ssl.SSLError):  # it would like to wait for the other side's
            self._tls.unwrap()
        self._to_network += self._encrypted.read()


def _is_end_of_tcp(error: ssl.SSLError) -> bool:
    """Whether the connection ended without TLS's own end; Python 3.11.2 has no class of its own for that."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def _left(deadline: float) -> float:
    """Seconds, for the next timeout of a socket: each begins anew, so who trickles would never meet one of them."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def reason(error: OSError) -> str:
    """Words for an error of TLS or of its connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
