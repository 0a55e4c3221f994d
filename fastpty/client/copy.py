"""`fastpty cp`: copies files to and from the place in which a router runs.

    this process: the session, as for `fastpty exec`  ◀── pipe ──▶  copier: reads or writes the local files

The other half runs at the router (fastpty/sessions/copies.py). The copier is a process of its own because files may be
slow. When this process ends, the copier's pipe ends, so it keeps no incomplete file.
"""

from __future__ import annotations

import os
import signal
import sys

from fastpty.client import connect
from fastpty.client.connect import Connection
from fastpty.client.progress import Progress
from fastpty.client.wanted import OPTIONS, Wanted
from fastpty.copying.receiver import receive
from fastpty.copying.records import top_names
from fastpty.copying.sender import send
from fastpty.copying.signals import clean_up_at_signals
from fastpty.errors import CopyError, UsageError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastpty.client.arguments import Arguments
    from fastpty.client.link import Link
    from fastpty.client.session import Session

__all__ = ["read", "run"]

_OPTIONS = {
    name: takes
    for name, takes in OPTIONS.items()
    if name not in ("--uwsgi", "--pty-no-isig", "-e", "-n", "--raise", "--status-fd")
}
_SOME_FAILED = 1
_REMOTE = ":"
_ARCHIVE = "-"


class CopyWanted(Wanted):
    """What a command line of `fastpty cp` asks for. Raises UsageError if it is not valid.

    `sources` and `target`: paths, without the colon of the remote ones. `direction`: what the router does.
    `is_archive`: the local path is `-`, a tar archive on standard input or output.
    """

    reads_input = True

    def __init__(self, given: Arguments, words: list[str]) -> None:
        *sources, target = words[1:]
        downloads = {source.startswith(_REMOTE) for source in sources}
        if downloads == {target.startswith(_REMOTE)} or len(downloads) > 1:
            raise UsageError("cp copies between here and the router: give either the sources or the target as :PATH")
        self.is_archive = target == _ARCHIVE or _ARCHIVE in sources
        if _ARCHIVE in sources and len(sources) > 1:
            raise UsageError("- is a tar archive on standard input: give it alone")
        if target == _ARCHIVE and os.isatty(1):
            raise UsageError("- is a tar archive on standard output, and that is a terminal: redirect it")
        self.sources = [_plain(source) for source in sources]
        self.target = _plain(target)
        self.into_directory = len(sources) > 1 or target.endswith("/") or _ARCHIVE in sources
        self.direction = extension.RECEIVES_INTO_DIRECTORY if self.into_directory else extension.RECEIVES
        if downloads == {True}:
            self.direction = extension.SENDS
        paths = self.sources if self.downloads else [self.target]
        super().__init__(given, [words[0], *paths], framed=False)
        self.reads_input = not self.downloads

    @property
    def downloads(self) -> bool:
        """True if the files come from the router."""
        return self.direction == extension.SENDS

    def _need(self) -> str | None:
        return "cp"


def read(arguments: Sequence[str]) -> CopyWanted | None:
    """Parses `arguments`; returns None if they ask for the help."""
    from fastpty.client import arguments as command_line

    given = command_line.split(arguments, _OPTIONS, "fastpty cp")
    if given.options.keys() & {"-h", "--help"}:
        return None
    if len(given.words) < 3:
        raise UsageError("cp needs an address, what to copy, and where to: fastpty cp ADDR SRC... DST")
    return CopyWanted(given, given.words)


def _plain(path: str) -> str:
    return (path[1:] or ".") if path.startswith(_REMOTE) else path


def run(wanted: CopyWanted, complain: Callable[[str], None]) -> int:
    """Copies; returns 0 if everything was copied. Raises FastptyError if the session did not run to its end."""
    copier = _Copier(wanted, complain)
    try:
        status = connect.run_on(_CopyConnection(wanted, complain, copier))
    except BaseException:
        copier.cancel()
        raise
    if status and not wanted.downloads:
        copier.cancel()
        return status
    local = copier.wait()
    return status or local


class _Copier:
    """The process for the local files. `pipe`: this process's end of its pipe."""

    def __init__(self, wanted: CopyWanted, complain: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._complain = complain
        reader, writer = os.pipe2(os.O_CLOEXEC)
        own, self.pipe = (reader, writer) if wanted.downloads else (writer, reader)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.pipe)
            self._run_and_exit(own)
        os.close(own)

    def wait(self) -> int:
        """Returns the exit status, when the process has handled all that came through its pipe."""
        self._close()
        return _SOME_FAILED if os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]) else 0

    def cancel(self) -> None:
        """Ends the process. It removes the file that is not complete."""
        os.kill(self._pid, signal.SIGTERM)
        self._close()
        os.waitpid(self._pid, 0)

    def _close(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def _run_and_exit(self, pipe: int) -> None:
        status = _SOME_FAILED
        progress = Progress(self._complain, is_quiet=self._wanted.is_quiet)
        clean_up_at_signals(progress.clear)
        try:
            status = 0 if self._copy(pipe, progress) else _SOME_FAILED
        except BrokenPipeError:  # the session has ended
            pass
        except CopyError as error:
            progress.say(str(error))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            progress.clear()
            os._exit(status)

    def _copy(self, pipe: int, progress: Progress) -> bool:
        wanted = self._wanted
        sources = [os.fsencode(source) for source in wanted.sources]
        if wanted.is_archive:
            from fastpty.client.archive import receive_archive, send_archive  # `tarfile` is slow to load

            if wanted.downloads:
                return receive_archive(pipe, 1, progress.say, progress.show, top_names(sources))
            return send_archive(0, pipe, progress.say)
        if wanted.downloads:
            return receive(
                pipe,
                os.fsencode(wanted.target),
                progress.say,
                into_directory=wanted.into_directory,
                progress=progress.show,
                names=top_names(sources),
            )
        return send(sources, pipe, progress.say, progress.show)


class _CopyConnection(Connection):
    """One run of the session."""

    wanted: CopyWanted

    def __init__(self, wanted: CopyWanted, complain: Callable[[str], None], copier: _Copier) -> None:
        super().__init__(wanted, complain)
        self._copier = copier

    def _check_streams(self) -> None:
        """The session does not use this process's standard input and output."""

    def _session(self) -> tuple[Session, bytes]:
        from fastpty.client.copy_session import CopySession
        from fastpty.client.request import start

        wanted = self.wanted
        streams = extension.STREAMS_ITEM, extension.streams(merges=False, drain_ms=0)
        copy = extension.COPY_ITEM, bytes((wanted.direction,))
        request = start(None, wanted.command, (), wanted.directory, items=[streams, copy])
        return CopySession(), request

    def _attach(self, link: Link) -> int:
        from fastpty.client.exec_loop import relay
        from fastpty.client.report import exit_status

        if self.wanted.downloads:
            stdin, stdout = self._stdin, self._copier.pipe
        else:
            stdin, stdout = self._copier.pipe, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        return exit_status(relay(link, stdin, stdout, timeout=0.0, show_notice=self._show_notice))
