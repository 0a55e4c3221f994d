"""A TLS client that sends KeyUpdate requests, which Python's ssl cannot send."""

from __future__ import annotations

import _ssl
import ctypes
import select
import socket

from tests.support.harness import PATIENCE_SECONDS
from tests.support.tls_harness import Authority

_PEM = 1
_REQUESTED = 1  # SSL_KEY_UPDATE_REQUESTED: the other side must answer with a KeyUpdate
_AT_A_TIME = 1000


class KeyUpdateClient:
    """A TLS connection after its handshake, made with the libssl that Python has loaded."""

    def __init__(self, authority: Authority, network: socket.socket) -> None:
        self._network = network
        self._to_network = b""
        self._openssl = ctypes.CDLL(_ssl.__file__)
        context = self._new("SSL_CTX_new", self._new("TLS_client_method"))
        certificate, key = authority.give("alice")
        assert self._openssl.SSL_CTX_use_certificate_file(context, certificate.encode(), _PEM) == 1
        assert self._openssl.SSL_CTX_use_PrivateKey_file(context, key.encode(), _PEM) == 1
        self._tls = self._new("SSL_new", context)
        self._received, self._encrypted = (self._new("BIO_new", self._new("BIO_s_mem")) for _ in range(2))
        self._openssl.SSL_set_bio(self._tls, self._received, self._encrypted)
        self._openssl.SSL_set_connect_state(self._tls)
        while self._openssl.SSL_do_handshake(self._tls) != 1:
            self._send()
            self._receive()
        network.setblocking(False)

    def ask_until_refused(self, most_bytes: int) -> int:
        """Sends requests and reads no answers, until the other side stops reading or `most_bytes` are sent.

        Returns the number of bytes sent.
        """
        taken = 0
        while taken < most_bytes and select.select([], [self._network], [], 1)[1]:
            for _ in range(0 if self._to_network else _AT_A_TIME):
                assert self._openssl.SSL_key_update(self._tls, _REQUESTED) == 1
                assert self._openssl.SSL_do_handshake(self._tls) == 1
            taken += self._send()
        return taken

    def converse(self, text: bytes, until: bytes) -> bytes:
        """Sends the text and reads until the expected answer."""
        assert self._openssl.SSL_write(self._tls, text, len(text)) == len(text)
        seen = b""
        piece = ctypes.create_string_buffer(65536)
        while until not in seen:
            self._send()
            waiting = [self._network] if self._to_network else []
            assert any(select.select([self._network], waiting, [], PATIENCE_SECONDS)), seen[-500:]
            self._receive()
            while (count := self._openssl.SSL_read(self._tls, piece, len(piece))) > 0:
                seen += piece.raw[:count]
        return seen

    def _new(self, function: str, *arguments: ctypes.c_void_p) -> ctypes.c_void_p:
        maker = self._openssl[function]
        maker.restype = ctypes.c_void_p
        made = ctypes.c_void_p(maker(*arguments))
        assert made, function
        return made

    def _send(self) -> int:
        """Sends what TLS has pending, as far as the socket has room; returns the number of bytes."""
        piece = ctypes.create_string_buffer(65536)
        while (count := self._openssl.BIO_read(self._encrypted, piece, len(piece))) > 0:
            self._to_network += piece.raw[:count]
        try:
            sent = self._network.send(self._to_network)
        except BlockingIOError:
            return 0
        self._to_network = self._to_network[sent:]
        return sent

    def _receive(self) -> None:
        try:
            data = self._network.recv(65536)
        except BlockingIOError:
            return
        assert data, "the connection has ended"
        assert self._openssl.BIO_write(self._received, data, len(data)) == len(data)
