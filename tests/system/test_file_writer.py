"""The process that appends to a log in a foreign root: fastpty/system/file_writer.py."""

from __future__ import annotations

import os
from pathlib import Path

from fastpty.system.file_writer import FileWriter
from tests.support.harness import eventually


def test_a_line_logged_after_a_reopen_is_never_in_the_old_file(tmp_path: Path) -> None:
    """Also if the process finds the order and the line at the same time."""
    log, gate = tmp_path / "log", tmp_path / "gate"

    def open_file() -> int:
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if gate.exists():
            gate.read_bytes()  # waits until the FIFO has had a writer
        return opened

    writer = FileWriter(open_file, lambda error: b"%r\n" % str(error))
    try:
        os.mkfifo(gate)
        log.rename(tmp_path / "first")
        writer.reopen()
        eventually(log.exists, "the process reopens the file, and waits")
        log.rename(tmp_path / "second")
        writer.reopen()
        writer.stream.sendall(b"a line\n")
        with gate.open("wb"):
            gate.unlink()
        eventually(lambda: log.exists() and log.read_text() == "a line\n", "the line in the new file")
        assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == ""
    finally:
        writer.stream.close()
