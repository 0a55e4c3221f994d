"""Opens a session for the Python interface: connects, and waits for a router that speaks the extension."""

from __future__ import annotations

import socket
import time

from fastpty.client import negotiation
from fastpty.client.link import Link
from fastpty.errors import SessionError, printable
from fastpty.net.address import TcpAddress, dial, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.client.session import Session


def open_session(
    address: str, protocol: Session, request: bytes, *, size: tuple[int, int] | None, until: float | None
) -> Link:
    """Connects to the router at `address`, and sends the `request` for a session. The caller closes the Link's `sock`.

    `size`: the window in the request; None without a terminal. `until`: the time (time.monotonic) by which the router
    must answer; None waits forever. Raises FastptyError: SessionError if the router does not speak the extension.
    """
    place = parse(address)
    bound_to = None if isinstance(place, TcpAddress) else negotiation.new_name()
    network = socket.socket(fileno=dial(place, seconds_left(until), bound_to).detach())
    try:
        sockname = network.getsockname()
        names: list[bytes | None] = [sockname] if isinstance(sockname, bytes) and sockname else []
        greeting = negotiation.Greeting([*names, None])
        link = Link(network, framed=False, name=printable(address))
        negotiation.wait_for_greeting(link.sock, link.read, greeting, seconds_left(until))
        if not greeting.is_welcome:
            problem = "does not speak the extension" if greeting.is_welcome is False else "does not answer"
            raise SessionError(f"{link.name}: the router {problem}")
        link.begin(protocol, request, size, greeting)
    except BaseException:
        network.close()
        raise
    return link


def seconds_left(until: float | None) -> float | None:
    """Seconds until that time, 0 or more; None for no limit."""
    return None if until is None else max(0.0, until - time.monotonic())
