"""TLS over TCP, for both ends: the context, and a pump between a TLS connection and a plain socket.

Only TLS 1.3, with certificates on both sides. A half-close is TLS's close_notify, which ends one direction alone
(RFC 8446, 6.1). A connection that ends without it was cut off; that never counts as the end of input.
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
from fastpty.net import tcp
from fastpty.net.tls_files import Identity, read_pem
from fastpty.wire.extension import ALPN

_CHUNK_BYTES = 65536
_HIGH_WATER_BYTES = 262144
_HANDSHAKE_SECONDS = 10.0
_HANDSHAKE_RECORD = b"\x16"  # RFC 8446, 5.1
# After the plain end is gone, the peer must receive at least _LEFTOVER_BYTES every _LEFTOVER_SECONDS. Even a modem, or
# a person who reads page by page, is faster.
_LEFTOVER_SECONDS = 60.0
_LEFTOVER_BYTES = 8192


def context_of(identity: Identity, *, server: bool, negotiates: bool = False) -> ssl.SSLContext:
    """A context that requires a certificate of the peer. Raises UsageError for a file that cannot be used.

    negotiates: offers or accepts the negotiated extension (RFC 7301, ALPN).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    _set_up(context, server=server)
    if negotiates:
        context.set_alpn_protocols([ALPN])
    try:
        with _as_file(read_pem("tls-ca", identity.authorities)) as path:
            context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"tls-ca: {identity.authorities} cannot be used: {reason(error)}") from error
    chain, key = read_pem("tls-cert", identity.certificate), read_pem("tls-key", identity.key, is_secret=True)
    try:
        with _as_file(chain) as chain_path, _as_file(key) as key_path:
            # Never ask for a passphrase: there may be no terminal.
            context.load_cert_chain(chain_path, key_path, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        files = f"{identity.certificate} with {identity.key}"
        raise UsageError(f"tls-cert and tls-key: {files} cannot be used: {reason(error)}") from error
    return context


def _set_up(context: ssl.SSLContext, *, server: bool) -> None:
    """Sets all security options: the defaults depend on Python, OpenSSL and openssl.cnf."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # Certificates of existing authorities may lack extensions that strict checks (VERIFY_X509_STRICT) require.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    context.post_handshake_auth = False
    context.set_ciphers("DEFAULT:@SECLEVEL=2")  # with TLS 1.3, this only rejects weak certificates
    # With Python's default, the end of the TCP connection would count as the end of input.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if server:
        # A client that resumes a session shows no certificate, so an expired one would go unnoticed.
        context.num_tickets = 0


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Gives OpenSSL a path to this content, even if the file that it was read from has changed since."""
    with open(os.memfd_create("fastpty-pem", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


# The kinds of alternative names that Python gives as plain text. Others are descriptions or nested tuples.
_NAME_KINDS = frozenset({"DNS", "email", "URI", "IP Address"})
_NO_ADDRESS = "<invalid>"


def certificate_names(certificate: dict[str, Any] | None) -> list[str]:
    """The names of a verified certificate: the subject's common names, then the alternative names that are text."""
    found: list[str] = []
    for part in (certificate or {}).get("subject", ()):
        found += [value for kind, value in part if kind == "commonName"]
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind in _NAME_KINDS and value != _NO_ADDRESS:
            found.append(value)
    return list(dict.fromkeys(found))


class Pump:
    """Moves bytes between a TLS connection and a plain socket. The directions are independent.

    network: a connected TCP socket, which stays open. high_water_bytes: a direction that holds this much stops reading.
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
        self._network_open = True  # no close_notify has come from the peer
        self._plain_open = True
        self._sent_close_notify = False
        self._is_marked = False  # the last line from the plain side is a notice, so it must be marked on the network
        self._sent = 0
        self._received_by_peer = 0  # of the sent bytes, at the last check
        self._check_at: float | None = None  # set once the plain end is gone

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The peer's certificate, after the handshake. Raises ValueError if Python cannot decode it."""
        return self._tls.getpeercert()

    @property
    def has_negotiated(self) -> bool:
        """True if both sides speak the negotiated extension, after the handshake."""
        return self._tls.selected_alpn_protocol() == ALPN

    def shake_hands(self, deadline: float | None) -> None:
        """Performs the handshake. Raises OSError (such as ssl.SSLError) if it fails or is not done at the deadline.

        deadline: of time.monotonic(); None for no deadline.
        """
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            finally:  # if it fails, this sends the alert
                self._network.settimeout(_left(deadline))
                self._network.sendall(self._encrypted.read())
            if not done:
                self._network.settimeout(_left(deadline))
                data = self._network.recv(_CHUNK_BYTES)
                if not data:
                    raise ConnectionError("the other side closed the connection during the handshake")
                self._received.write(data)

    def say(self, text: bytes) -> None:
        """Sends a notice and close_notify, and waits for the peer to read them."""
        self._network.settimeout(_HANDSHAKE_SECONDS)
        self._tls.write(text)
        self._send_close_notify()
        self._network.sendall(self._to_network)
        tcp.mark_notice(self._network)
        tcp.wait_until_read(self._network)

    def run(self, plain: socket.socket) -> None:
        """Moves bytes until both directions have ended, or the plain end is gone and its bytes are sent.

        Raises OSError if TLS fails, and TimeoutError if the peer receives the last bytes too slowly.
        """
        self._network.setblocking(False)
        plain.setblocking(False)
        self._decrypt()
        self._flush(plain)
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
            self._flush(plain)

    def _finished(self) -> bool:
        under_way = self._network_open or self._plain_open or self._to_plain or self._to_network
        return self._sent_close_notify and not under_way

    def _wait(self, plain: socket.socket) -> dict[int, int]:
        """Polls. The plain end's hang-up is polled for only once, because it would be reported again and again."""
        poll = select.poll()
        wanted = (select.POLLIN if self._has_room() else 0) | (select.POLLOUT if self._to_network else 0)
        if wanted:
            poll.register(self._network, wanted)
        wanted = (select.POLLIN if self._may_read() else 0) | (select.POLLOUT if self._to_plain else 0)
        if wanted or self._check_at is None:
            poll.register(plain, wanted)
        return dict(poll.poll(self._timeout_ms()))

    def _hang_up(self) -> None:
        """The plain end is gone: drops the network's bytes, and sets the peer a deadline for the rest."""
        self._network_open = False
        self._to_plain.clear()
        if self._check_at is None:
            self._check_progress()

    def _check_progress(self) -> None:
        """Notes how much the peer has received: the kernel's buffer can hold more than a slow link carries."""
        unacknowledged = fcntl.ioctl(self._network, termios.TIOCOUTQ, bytes(4))
        self._received_by_peer = self._sent - int.from_bytes(unacknowledged, sys.byteorder)
        self._check_at = time.monotonic() + _LEFTOVER_SECONDS

    def _timeout_ms(self) -> float | None:
        """How long to wait for events. Raises TimeoutError if the peer has received too little since the last check."""
        if self._check_at is None:
            return None
        if time.monotonic() >= self._check_at:
            before = self._received_by_peer
            self._check_progress()
            if self._received_by_peer - before < _LEFTOVER_BYTES:
                raise TimeoutError("the session has ended, and the peer did not read the rest in time")
        return max(0.0, self._check_at - time.monotonic()) * 1000

    def _flush(self, plain: socket.socket) -> None:
        """Sends as much as possible without waiting, and ends a direction once everything before its end was sent."""
        all_read = not (self._network_open and self._received.pending)
        if not self._plain_open and not self._sent_close_notify and all_read:
            self._send_close_notify()
        if self._to_network:
            with contextlib.suppress(BlockingIOError):
                sent = self._network.send(self._to_network[:_CHUNK_BYTES])
                self._sent += sent
                del self._to_network[:sent]
        if self._is_marked and self._sent_close_notify and not self._to_network:
            self._is_marked = False
            tcp.mark_notice(self._network)
        if not self._network_open and not self._to_plain:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_WR)

    def _has_room(self) -> bool:
        """True if more may be read from the network.

        The directions do not wait for each other, with one exception: a peer that makes TLS answer (KeyUpdate) must
        read these answers. So only a limited number of bytes may wait in addition to those of the plain side.
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
                raise ConnectionError("it was cut off: the other side sent no close_notify") from None
            self._to_plain += data
            self._network_open = bool(data)
        self._to_network += self._encrypted.read()  # an answer of TLS itself, such as a new key

    def _may_read(self) -> bool:
        return self._plain_open and len(self._to_network) < self._high_water_bytes

    def _read(self, plain: socket.socket) -> None:
        if not self._may_read():
            return
        try:
            data, _, flags, _ = plain.recvmsg(_CHUNK_BYTES)
            # A mark of the relay's notices (fastpty/relay/notice.pxd) is a descriptor, which the kernel drops here.
            self._is_marked = self._is_marked or bool(flags & socket.MSG_CTRUNC)
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
        except OSError:  # the plain end reads no more, but may still send
            self._to_plain.clear()
            self._network_open = False
        self._decrypt()

    def _send_close_notify(self) -> None:
        self._sent_close_notify = True
        with contextlib.suppress(ssl.SSLError):  # raised while the peer's close_notify has not come
            self._tls.unwrap()
        self._to_network += self._encrypted.read()


def _is_end_of_tcp(error: ssl.SSLError) -> bool:
    """True if the connection ended without close_notify. Python 3.11.2 has no class of its own for that error."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def begins_with_hello(network: _socket.socket, deadline: float) -> bool:
    """Waits for the peer's first byte and leaves it in the socket. False if it is not TLS's, or none comes in time.

    Raises OSError.
    """
    network.settimeout(_left(deadline))
    try:
        return network.recv(1, socket.MSG_PEEK) in (_HANDSHAKE_RECORD, b"")
    except TimeoutError:
        return False


def handshake_deadline() -> float:
    """The deadline of a server's handshake that begins now."""
    return time.monotonic() + _HANDSHAKE_SECONDS


def _left(deadline: float | None) -> float | None:
    """The timeout for the next call on a socket, in seconds. Raises TimeoutError after the deadline.

    A socket's own timeout begins anew with each call, so a peer that sends one byte a second would never exceed it.
    """
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def reason(error: OSError) -> str:
    """Describes an error of TLS or of its connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was rejected: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
