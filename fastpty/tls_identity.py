"""What is to be known of TLS where none is spoken: so the ssl module is loaded only where it is used."""

from __future__ import annotations

from dataclasses import dataclass

from fastpty.listening import Listener


@dataclass(frozen=True)
class Identity:
    """PEM files: the certificate with its chain, its key, and the authorities whose certificates are believed."""

    certificate: str
    key: str
    authorities: str


@dataclass(frozen=True)
class Front:
    """A TCP listener that speaks TLS, and the way to the relay behind it."""

    outside: Listener
    inside: Listener
    entrance: int  # O_PATH descriptor of the inner socket's file, which has no name any more
