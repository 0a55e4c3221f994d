"""Nothing outside can stop the supervisor, break the start, or make the router write to other files."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_RELOADS = "supervision/test_reload_waits.py::"
_FAILED = '        except OSError as error:\n            self._fail(f"no process can start: {error.strerror}")\n'

RELOADS = (
    Mutant(
        "the supervisor does not wait for the process that reads a reload's configuration",
        "fastpty/supervision/child_task.py",
        "        os.set_blocking(self._reader, False)\n",
        "        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)\n",
        _RELOADS + "test_a_router_goes_on_while_a_reload_reads_its_configuration",
    ),
    Mutant(
        "the processes that a reload has started end with it",
        "fastpty/supervision/child_task.py",
        "            os.killpg(self._pid, signal.SIGKILL)",
        "            os.kill(self._pid, signal.SIGKILL)",
        _RELOADS + "test_a_router_goes_on_while_a_reload_reads_its_configuration",
    ),
    Mutant(
        "the supervisor looks up no host name",
        "fastpty/net/address.py",
        "        if self._found is None:\n",
        "        if True:\n",
        _RELOADS + "test_the_supervisor_does_not_look_up_host_names_of_a_reload",
    ),
    Mutant(
        "reading a configuration has a deadline",
        "fastpty/supervision/reload.py",
        "if self._reading is not None and time.monotonic() >= self._reading.until:",
        "if self._reading is not None and time.monotonic() < 0:",
        _RELOADS + "test_a_configuration_that_cannot_be_read_in_time_is_refused",
    ),
    Mutant(
        "a reload requested during another one is done afterwards",
        "fastpty/supervision/reload.py",
        "            self._wanted_again = True\n",
        "",
        _RELOADS + "test_a_reload_that_is_asked_for_during_another_follows_it",
    ),
    Mutant(
        "the old workers accept until a new one is ready",
        "fastpty/supervision/reload.py",
        _FAILED,
        _FAILED + "        else:\n            self.is_ready(next(iter(self._trial.workers)))\n",
        _RELOADS + "test_the_old_workers_accept_until_a_new_one_is_ready",
    ),
    Mutant(
        "a reload with which no worker can start is refused",
        "fastpty/supervision/reload.py",
        _FAILED,
        _FAILED + "        else:\n            self.is_ready(next(iter(self._trial.workers)))\n",
        _RELOADS + "test_a_reload_with_which_no_worker_can_start_is_refused",
    ),
    Mutant(
        "a reload that is refused leaves no socket",
        "fastpty/supervision/reload.py",
        "        failed.listeners.close(keep=self._supervisor.listeners)\n",
        "",
        _RELOADS + "test_a_reload_with_which_no_worker_can_start_is_refused",
    ),
    Mutant(
        "a worker that hangs before it is ready is killed",
        "fastpty/supervision/supervisor.py",
        "            each.check_ready(now)\n",
        "",
        _RELOADS + "test_a_reload_whose_worker_hangs_before_it_is_ready_is_refused",
    ),
    Mutant(
        "a router without workers tries a new configuration with one",
        "fastpty/supervision/reload.py",
        "        has_no_workers = self._supervisor.has_no_workers\n",
        "        has_no_workers = self._supervisor.has_no_workers\n        if has_no_workers:\n"
        "            self._trial = None\n"
        "            return self._supervisor.change_to(config, listeners, (), ())\n",
        _RELOADS + "test_a_router_without_workers_tries_the_new_configuration_with_one",
    ),
    Mutant(
        "a second stop ends a worker that hangs before it is ready",
        "fastpty/supervision/supervisor.py",
        "signal.SIGKILL if self._is_stopping and not each.is_ready else passed_on",
        "passed_on",
        _RELOADS + "test_a_second_stop_ends_a_router_whose_new_worker_hangs",
    ),
    Mutant(
        "a router whose first workers cannot start ends",
        "fastpty/supervision/supervisor.py",
        "        if not (self._has_started or self.workers):",
        "        if False:",
        _RELOADS + "test_a_router_whose_first_workers_cannot_start_ends_and_says_so",
    ),
)

_STARTS = "supervision/test_start_stopped.py::"
_ANY_MOMENT = _STARTS + "test_a_stop_at_any_moment_of_the_start_leaves_nothing_behind"

STARTS = (
    Mutant(
        "signals are held back during the start", "fastpty/router.py", "        signals.hold()\n", "", _ANY_MOMENT
    ),
    Mutant(
        "signals other than stops wait for the end of the start",
        "fastpty/system/signals.py",
        "[*stop_signals(), *others]",
        "stop_signals()",
        _STARTS + "test_a_signal_that_is_no_stop_waits_at_any_moment_of_the_start",
    ),
    Mutant(
        "a reload waits for the end of the start",
        "fastpty/system/signals.py",
        "_MEANT_FOR_THE_SUPERVISOR = (signal.SIGHUP, ",
        "_MEANT_FOR_THE_SUPERVISOR = (",
        _STARTS + "test_a_reload_waits_for_the_end_of_the_start",
    ),
    Mutant(
        "a stop during the start ends the process that the start waits for",
        "fastpty/jail/steps.py",
        "        with signals.interruptible():\n            goes_on_in_a_child",
        "        if True:\n            goes_on_in_a_child",
        _STARTS + "test_a_stop_ends_a_start_that_waits",
    ),
    Mutant(
        "a stop during the start ends all processes of the running hook",
        "fastpty/hooks/actions.py",
        "            _end_group(process)\n",
        "            process.kill()\n",
        _STARTS + "test_a_stop_ends_the_hook_that_the_start_waits_for",
    ),
    Mutant(
        "a stop during the start works in a pid namespace",
        "fastpty/jail/pid_namespace.py",
        "    except Stopped:\n        return 0\n",
        "    except Stopped:\n        return 1\n",
        _STARTS + "test_a_stop_ends_a_hook_in_a_pid_namespace",
    ),
    Mutant(
        "the starter of a router in the background learns that it was stopped",
        "fastpty/service/background.py",
        '        self._report(1, f"stopped by {signal_name(number)} before it was ready")\n',
        "",
        _STARTS + "test_the_starter_of_a_router_in_the_background_learns_that_it_was_stopped",
    ),
    Mutant(
        "an interrupt while modules are loaded causes no traceback",
        "fastpty/__init__.py",
        "    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:\n",
        "    if False:\n",
        _STARTS + "test_an_interrupt_while_modules_are_loaded_is_no_traceback",
    ),
)

_ROOTS = "jail/test_foreign_root.py::"

ROOTS = (
    Mutant(
        "in a jail, a log outside is not reopened by its path",
        "fastpty/log.py",
        "    def reopen(self, *, complains: bool) -> None:\n        self._check_root()\n",
        "    def reopen(self, *, complains: bool) -> None:\n",
        _ROOTS + "test_a_log_outside_the_jail_is_not_reopened_by_its_path",
    ),
    Mutant(
        "in a jail, the syslog socket is not reopened",
        "fastpty/log.py",
        "    def _connect(self) -> socket.socket:\n        self._check_root()\n",
        "    def _connect(self) -> socket.socket:\n",
        _ROOTS + "test_the_syslog_socket_is_not_reopened_in_the_jail",
    ),
    Mutant(
        "in a jail, the router's files are not opened through links",
        "fastpty/system/foreign_root.py",
        "flags | os.O_NOFOLLOW",
        "flags",
        _ROOTS + "test_a_file_in_the_jail_is_not_opened_through_a_link",
    ),
    Mutant(
        "a chroot counts as another root",
        "fastpty/jail/steps.py",
        "through which a program can leave the root\n        foreign_root.enter()\n",
        "through which a program can leave the root\n",
        _ROOTS + "test_a_file_in_the_jail_is_not_opened_through_a_link",
    ),
    Mutant(
        "a log in a jail is not reopened through a link",
        "fastpty/log.py",
        "    fd = foreign_root.open_file(path, flags, 0o640)\n",
        "    fd = os.open(path, flags, 0o640)\n",
        _ROOTS + "test_a_log_in_the_jail_is_reopened_but_not_through_a_link",
    ),
    Mutant(
        "a log in a jail must not be a device",
        "fastpty/system/foreign_root.py",
        "    if not stat.S_ISREG(status.st_mode):\n",
        "    if False:\n",
        _ROOTS + "test_a_log_in_the_jail_must_be_a_file_of_the_router",
    ),
    Mutant(
        "a log in a jail must not be another user's file",
        "fastpty/system/foreign_root.py",
        "    if status.st_uid not in (0, os.geteuid()):\n",
        "    if False:\n",
        _ROOTS + "test_a_log_in_the_jail_must_be_a_file_of_the_router",
    ),
    Mutant(
        "a log in a jail must not be a file with a second name",
        "fastpty/system/foreign_root.py",
        "    if status.st_nlink != 1:\n",
        "    if False:\n",
        _ROOTS + "test_a_log_in_the_jail_must_be_a_file_of_the_router",
    ),
    Mutant(
        "a pid file in a jail is not written through a link",
        "fastpty/system/foreign_root.py",
        "    directory = _walk(path) if _is_entered else os.open(path, _DIRECTORY)\n",
        "    directory = os.open(path, _DIRECTORY)\n",
        _ROOTS + "test_a_file_in_the_jail_is_not_opened_through_a_link",
    ),
)

_CGROUPS = "sessions/test_session_cgroup_shared.py::"

CGROUPS = (
    Mutant(
        "a router leaves the cgroup of another router alone",
        "fastpty/sessions/cgroup_base.py",
        "            killer = lock(left)\n",
        '            killer = os.open(left / "cgroup.kill", os.O_WRONLY)\n',
        _CGROUPS + "test_a_router_leaves_the_cgroup_of_another_one_alone",
    ),
    Mutant(
        "a running router locks its cgroup",
        "fastpty/sessions/cgroup_base.py",
        "        fcntl.fcntl(killer, fcntl.F_OFD_SETLK, _FLOCK)\n",
        "        pass\n",
        _CGROUPS + "test_a_router_leaves_the_cgroup_of_another_one_alone",
    ),
    Mutant(
        "a cgroup that is swept before it is locked is made again",
        "fastpty/sessions/cgroup_base.py",
        '        if os.path.samestat(os.stat(f"{name}/cgroup.kill", dir_fd=above), os.fstat(killer)):\n',
        "        if True:\n",
        _CGROUPS + "test_a_cgroup_that_is_swept_before_it_is_locked_is_made_again",
    ),
    Mutant(
        "a cgroup that another program has removed is made again",
        "fastpty/sessions/cgroups.py",
        "        except FileNotFoundError:\n            self._renew()\n",
        "        except InterruptedError:\n            self._renew()\n",
        _CGROUPS + "test_a_cgroup_that_another_program_has_removed_is_made_again",
    ),
    Mutant(
        "the supervisor follows its workers to a cgroup that was made again",
        "fastpty/sessions/cgroups.py",
        "        self._renew_killer()\n        for name",
        "        for name",
        _CGROUPS + "test_a_cgroup_that_another_program_has_removed_is_made_again",
    ),
)

SUPERVISOR = (*RELOADS, *STARTS, *ROOTS, *CGROUPS)
