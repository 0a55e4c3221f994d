"""uWSGI's own router, to compare fastpty with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.harness import children, eventually, process_gone
from tests.support.peers import need


class RealRouter:
    """uWSGI with a raw and a uwsgi socket, whose sessions run /bin/sh."""

    def __init__(self, directory: Path) -> None:
        self.raw, self.framed = f"{directory}/raw", f"{directory}/uwsgi"
        ini = directory / "router.ini"
        ini.write_text(
            "[uwsgi]\nplugins = corerouter,forkptyrouter\nmaster = true\n"
            f"forkpty-router = {self.raw}\nforkpty-urouter = {self.framed}\n"
            "env = PS1=remote:\nenv = TERM=xterm\n"
        )
        log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            [need("uwsgi"), "--ini", str(ini)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        eventually(lambda: self._answers(self.raw) and self._answers(self.framed), "uWSGI")
        self.await_ends()

    def _answers(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(path) == 0

    def await_ends(self) -> None:
        """Waits until the programs of all clients that have left have ended.

        uWSGI reads terminals with blocking reads. What is left of a session that ends can make it read the terminal of
        one that begins at that moment, and then it waits for output forever.
        """
        programs = [pid for router in children(self._process.pid) for pid in children(router)]
        eventually(lambda: all(process_gone(pid) for pid in programs), "the programs of uWSGI have ended")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
