"""The standard input, output and error of a program without a terminal."""

from __future__ import annotations

import os
import socket

from fastpty.system.passed_descriptors import refuse_descriptors

Ends = tuple[int, int, int]
"""Descriptors for standard input, output and error; -1: none."""


class ProgramStreams:
    """Three streams between the router (`own`, non-blocking) and a program (`program`).

    merges: standard error goes into standard output, and the router has no descriptor for it. apart: the program
    belongs to another user, or to a foreign root. Then the streams are sockets: through a pipe, the program could block
    the router's reads, writes and closes (fastpty/relay/streams.pxd). Raises OSError.
    """

    def __init__(self, *, merges: bool, apart: bool) -> None:
        self._opened: list[int] = []
        make = _socket if apart else _pipe
        try:
            reader, self._input = self._add(make())
            self._output, writer = self._add(make())
            self._error, error_writer = (-1, writer) if merges else self._add(make())
        except BaseException:
            self.close()
            raise
        self.program: Ends = reader, writer, error_writer
        self.own: Ends = self._input, self._output, self._error
        for descriptor in self.own:
            if descriptor >= 0:
                os.set_blocking(descriptor, False)

    def _add(self, ends: tuple[int, int]) -> tuple[int, int]:
        self._opened += ends
        return ends

    def close_program(self) -> None:
        """Closes this process's copies of the program's ends, after the program has started."""
        self._close({*self.program})

    def close(self) -> None:
        """Closes all ends that are open here."""
        self._close({*self._opened})

    def _close(self, descriptors: set[int]) -> None:
        for descriptor in descriptors:
            self._opened.remove(descriptor)
            os.close(descriptor)


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def _socket() -> tuple[int, int]:
    """Returns a socket pair for one direction: its first end reads what its second end writes, and not the reverse.

    So nothing waits unread in the second end. A program could send descriptors whose last close blocks; the kernel
    refuses them since Linux 6.16.
    """
    reader, writer = socket.socketpair()
    refuse_descriptors(reader)
    writer.shutdown(socket.SHUT_RD)
    return reader.detach(), writer.detach()
