"""Runs in a container whose init is systemd, as a unit of its own: stops the router's unit again and again.

Usage: unit_driver.py RESULT UNIT SOCKET UID COUNT: writes to RESULT, in JSON, one object for each stop.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 30


def main(result: str, unit: str, address: str, uid: int, count: int) -> None:
    stops = [one_stop(unit, address, uid) for _ in range(count)]
    Path(result).write_text(json.dumps(stops))


def one_stop(unit: str, address: str, uid: int) -> dict[str, object]:
    """Starts the unit, connects, stops the unit when the program has said READY; returns what happened."""
    subprocess.run(["systemctl", "start", unit], check=True)
    with connected(address, uid) as client:
        client.settimeout(SECONDS)
        seen = b""
        while b"READY" not in seen:
            data = client.recv(4096)
            assert data, f"ended after {seen!r}"
            seen += data
        subprocess.run(["systemctl", "stop", unit], check=True)
        left = processes(unit)
        while data := client.recv(4096):
            seen += data
    shown = subprocess.run(["systemctl", "show", "-P", "Result", unit], check=True, stdout=subprocess.PIPE, text=True)
    return {"output": seen.decode(), "left": left, "result": shown.stdout.strip(), "socket": os.path.exists(address)}


def connected(address: str, uid: int) -> socket.socket:
    """Connects as another user, once the router listens.

    A new socket belongs to the router's user alone until the router has set the configured mode.
    """
    client = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + SECONDS
    os.seteuid(uid)
    try:
        while True:
            try:
                client.connect(address)
                return client
            except (FileNotFoundError, PermissionError, ConnectionRefusedError):
                assert time.monotonic() < deadline, f"nobody listens at {address}"
                time.sleep(0.01)
    finally:
        os.seteuid(0)


def processes(unit: str) -> list[str]:
    """The command lines of the processes in the unit's control group."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{unit}" in (directory / "cgroup").read_text():
                found.append((directory / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended
            continue
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
