"""A router that logs to a test's socket instead of /dev/log."""

from __future__ import annotations

import socket

from tests.support.harness import PATIENCE_SECONDS

SYSLOG_SHIM = "import fastpty.log; fastpty.log.SYSLOG_SOCKET = {!r}; from fastpty.router import main; main({!r})"


class SyslogDaemon:
    """A socket in the place of the syslog daemon's."""

    def __init__(self, path: str):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(PATIENCE_SECONDS)

    def read_until(self, words: bytes) -> bytes:
        while words not in (line := self.socket.recv(65536)):
            pass
        return line
