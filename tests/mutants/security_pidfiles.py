"""Which processes `--stop` and `--reload` can signal."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PIDFILES = (
    Mutant(
        "a user who can only read a pid file cannot have a process signalled",
        "fastpty/service/pidfile.py",
        "_FLOCK.pack(fcntl.F_RDLCK,",
        "_FLOCK.pack(fcntl.F_WRLCK,",
        "service/test_pidfile_locks.py::test_a_reader_of_a_pid_file_cannot_choose_the_process_that_stop_signals",
    ),
    Mutant(
        "a user who can only read a pid file cannot keep a router from starting",
        "fastpty/service/pidfile.py",
        "_FLOCK.pack(fcntl.F_RDLCK,",
        "_FLOCK.pack(fcntl.F_WRLCK,",
        "service/test_pidfile_locks.py::test_a_reader_of_a_pid_file_cannot_keep_a_router_from_starting",
    ),
    Mutant(
        "a lock without a process names no process to signal",
        "fastpty/service/pidfile.py",
        "    if pid <= 0:\n",
        "    if pid == 0:\n",
        "service/test_pidfile_locks.py::test_a_lock_without_a_process_is_refused",
    ),
    Mutant(
        "a lock of another pid namespace names no process to signal",
        "fastpty/service/pidfile.py",
        "    if pid <= 0:\n",
        "    if pid < 0:\n",
        "service/test_pidfile_locks.py::test_a_lock_of_another_pid_namespace_is_refused",
    ),
    Mutant(
        "a pid file can name only a process of its owner",
        "fastpty/service/pidfile.py",
        "            _check_owner(path, descriptor, pid)\n",
        "",
        "service/test_pidfile_locks.py::test_a_pid_file_cannot_name_another_user_s_process",
    ),
    Mutant(
        "a link cannot pass for a pid file",
        "fastpty/service/pidfile.py",
        "_opened(path, os.O_NOFOLLOW)",
        "_opened(path)",
        "service/test_pidfile_locks.py::test_a_link_cannot_pass_for_a_pid_file",
    ),
)
