"""What the log and the statistics say about a session: its client, its socket and its program."""

from __future__ import annotations

import fcntl
import struct

from fastpty.access.peer import Peer
from fastpty.access.user_names import UserNames
from fastpty.listening.places import EXTENDED, Place
from fastpty.system.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

_TIOCGPTN = 0x80045430  # asm-generic/ioctls.h


@dataclass(frozen=True)
class Record:
    """A session. client, place: None for the program of the shared terminal. shared: its role in that terminal.

    is_negotiated: the client speaks fastpty's own protocol, whatever the socket's is. is_exec: its program has streams
    instead of a terminal.
    """

    client: Peer | None
    place: Place | None
    pid: int = 0
    tty: str = ""
    command: str = ""
    shared: Literal["program", "viewer"] | None = None
    is_negotiated: bool = False
    is_exec: bool = False

    def text(self, names: UserNames) -> str:
        """One line for the log."""
        who = "the shared terminal" if self.client is None else self.client.text
        if self.client is not None and (name := self._user(names)) is not None:
            who += f" ({name})"
        where = f" on {self.place.name}" if self.place else ""
        program = f": {'exec' if self.is_exec else self.tty}: process {self.pid}: {self.command}" if self.pid else ""
        return who + where + program

    def fields(self, names: UserNames) -> dict[str, Any]:
        """The same facts as fields for JSON."""
        client = self.client or Peer("")
        return {
            "uid": client.uid,
            "user": self._user(names),
            "client": client.text,
            "client_pid": client.pid,
            "listener": self.place.listener.address.text if self.place else None,
            "protocol": EXTENDED if self.is_negotiated else self.place.protocol if self.place else None,
            "command": self.command or None,
            "tty": self.tty or None,
            "shared": self.shared,
            "exec": self.is_exec,
        }

    def _user(self, names: UserNames) -> str | None:
        return None if self.client is None or self.client.uid is None else names.find(self.client.uid)


def tty_name(master: int) -> str:
    """The name of a pty's terminal below /dev, such as pts/3."""
    try:
        (number,) = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
    except OSError:
        return "pts/?"
    return f"pts/{number}"
