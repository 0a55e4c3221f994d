"""Configuration files whose sessions print a word, so that a client can tell which one is in force."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.harness import Client, Router

ECHO = "stty -echo; echo {}; exec cat"


def configured(path: Path, socket_path: str, *lines: str, word: str = "old") -> str:
    """Writes a configuration whose sessions print a word and then echo."""
    command = f"forkptyrouter-command = {ECHO.format(word)}"
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(["[uwsgi]", f"forkpty-router = {socket_path}", command, *lines, ""]))
    fresh.rename(path)
    return str(path)


def greeted(path: str, word: str) -> Client:
    client = Client(path)
    client.read_until(word.encode() + b"\r\n")
    return client


def echoes(client: Client, text: bytes = b"are you there?\n") -> None:
    client.send(text)
    client.read_until(text.strip() + b"\r\n")


def reload(router: Router, count: int = 1) -> None:
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log(r"\] reloaded", count)
