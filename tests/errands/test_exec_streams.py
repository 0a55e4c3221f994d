"""Programs of other users without a terminal: nothing that they do makes the worker wait (`run-as peer`)."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.system.passed_descriptors import refuse_descriptors
from fastpty.wire import extension
from tests.support.accounts import Login, connected_as, make_account, remove_account
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, eventually
from tests.support.peers import need

Starts = Callable[..., Router]


@pytest.fixture
def login() -> Iterator[Login]:
    """An account with an ordinary shell."""
    yield make_account("fastpty-exec", Path("/"))
    remove_account("fastpty-exec")


# Reads into, or writes from, a page of a file whose reads never end; or passes descriptors through its output: pipes,
# or when the test has opened the FIFO, a TCP connection whose last close blocks (SO_LINGER, with unread data).
PROGRAM = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int pass(int passed)
{
    union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec piece = {"x", 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &passed, sizeof(int));
    return sendmsg(1, &message, 0) < 0 ? errno : 0;
}

static int pass_pipe(void)
{
    char none;
    int ends[2], result;
    pipe(ends);
    result = pass(ends[1]);
    if (result != 0)
        return result;
    close(ends[1]);
    return read(ends[0], &none, 1);   /* the end: the router has closed the other one */
}

static void pass_unsent(const char *fifo)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger hour = {1, 3600}, none = {1, 0};
    static char zeros[65536];
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), ours = socket(AF_INET, SOCK_STREAM, 0), test;
    bind(listener, (struct sockaddr *)&address, size);
    listen(listener, 1);
    getsockname(listener, (struct sockaddr *)&address, &size);
    connect(ours, (struct sockaddr *)&address, size);
    accept(listener, NULL, NULL);
    setsockopt(ours, SOL_SOCKET, SO_LINGER, &hour, sizeof hour);
    fcntl(ours, F_SETFL, O_NONBLOCK);
    while (write(ours, zeros, sizeof zeros) > 0)
        ;
    write(2, "READY", 5);
    test = open(fifo, O_RDONLY);
    if (pass(ours) != 0) {   /* refused, so the close here is the last one */
        setsockopt(ours, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        write(1, "x", 1);
    }
    close(ours);
    close(test);
    pause();
}

int main(int count, char **words)
{
    if (strcmp(words[1], "pass") == 0) {
        int result = 0;
        for (int number = 0; number < 20 && result == 0; number++)
            result = pass_pipe();
        return result;
    }
    if (strcmp(words[1], "pass unsent") == 0)
        pass_unsent(words[2]);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open(words[2], O_RDWR), 0);
    write(2, "READY", 5);
    return strcmp(words[1], "read") == 0 ? read(0, page, 4096) : write(1, page, 4096);
}
"""


@pytest.fixture
def program(directory: Path) -> str:
    (directory / "program.c").write_text(PROGRAM)
    subprocess.run([need("cc"), "-w", "-o", "program", "program.c"], cwd=directory, check=True)
    return f"{directory}/program"


def serve(start_router: Starts, directory: Path, **keywords: object) -> Router:
    return start_router(
        *("--run-as", "peer", "--chmod-socket=666", "--stop-timeout", "1", "--fpty-router", f"{directory}/s"),
        **keywords,
    )


def execute(directory: Path, login: Login, *argv: str) -> ExtensionClient:
    client = ExtensionClient(connected_as(f"{directory}/s", login.uid, login.gid), nonce=bytes(8))
    client.execute(*argv)
    return client


def test_the_program_of_another_user_has_sockets(start_router: Starts, directory: Path, login: Login) -> None:
    serve(start_router, directory)
    script = "id -u; echo err >&2; test -S /dev/stdin && cat; exec head -c 1000000 /dev/zero >&2"
    with execute(directory, login, "sh", "-c", script) as client:
        client.type(b"in\n")
        client.send(extension.END_INPUT)
        assert client.status().code == 0
        assert client.output == b"%d\nin\n" % login.uid
        assert client.errors == b"err\n" + bytes(1_000_000)


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_program_of_another_user_cannot_make_the_worker_wait(
    call: str, start_router: Starts, directory: Path, login: Login, stuck_files: Path, program: str
) -> None:
    """It would if the streams were pipes: whoever copies to or from a pipe holds its lock."""
    serve(start_router, directory)
    with execute(directory, login, program, call, f"{stuck_files}/{call}") as stuck:
        while b"READY" not in stuck.errors:
            assert stuck.read()
        stuck.type(bytes(1000))
        reads = Path(f"{stuck_files}.reads")
        eventually(lambda: reads.stat().st_size > 0, "the program is stuck")
        stuck.type(bytes(1000))
        with execute(directory, login, "echo", "lives") as other:
            assert other.status().code == 0
            assert other.output == b"lives\n"


def test_descriptors_that_a_program_passes_are_refused_or_closed(
    start_router: Starts, directory: Path, login: Login, program: str, kernel: dict[str, str]
) -> None:
    """Another process closes them, since that can block. If many wait, others do, too: newer kernels refuse them."""
    router = serve(start_router, directory, env=kernel)
    with socket.socket(socket.AF_UNIX) as one:
        refuses = refuse_descriptors(one) and not kernel
    with execute(directory, login, program, "pass") as client:
        assert client.status().code == (errno.EPERM if refuses else 0)
        assert client.output == (b"" if refuses else b"x" * 20)
    assert router.end() == 0


def test_the_worker_does_not_wait_for_the_close_of_a_descriptor_that_a_program_passes(
    start_router: Starts, directory: Path, login: Login, program: str, kernel: dict[str, str]
) -> None:
    """The worker is stopped meanwhile, or the program's close could be the last one."""
    router = serve(start_router, directory, env=kernel)
    os.mkfifo(f"{directory}/fifo")
    os.chmod(f"{directory}/fifo", 0o644)
    with execute(directory, login, program, "pass unsent", f"{directory}/fifo") as client:
        while b"READY" not in client.errors:
            assert client.read()
        os.kill(router.pid, signal.SIGSTOP)
        fifo = os.open(f"{directory}/fifo", os.O_WRONLY)
        poll = select.poll()
        poll.register(fifo, 0)
        assert poll.poll(30_000), "the program has closed its descriptor"
        os.close(fifo)
        os.kill(router.pid, signal.SIGCONT)
        client.read_output_until(b"x")
        with execute(directory, login, "echo", "lives") as other:
            assert other.status().code == 0
    assert router.end() == 0


def test_urgent_bytes_of_a_job_do_not_hold_the_session(start_router: Starts, directory: Path, login: Login) -> None:
    """The kernel counts them among the bytes that wait, but read(2) leaves them out."""
    serve(start_router, directory)
    program = (
        "import os, socket, time\n"
        "output = socket.socket(fileno=1)\n"
        "output.send(b'out')\n"
        "output.send(b'!', socket.MSG_OOB)\n"
        "if os.fork(): os._exit(3)\n"
        "time.sleep(60)"
    )
    with execute(directory, login, "python3", "-c", program) as client:
        status = client.status()
        assert (status.code, status.flags) == (3, extension.STILL_OPEN)
        assert client.output == b"out"
