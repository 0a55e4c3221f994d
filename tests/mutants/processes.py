"""Workers, reloads, stops, the log, pid files, limits and cgroups."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

WORKERS = (
    Mutant(
        "a killed worker is replaced",
        "fastpty/supervision/supervisor.py",
        "if self._is_stopping or self._has_no_workers or time.monotonic() < self._restart_not_before:\n"
        "            return",
        "if self._has_started:\n            return",
        "supervision/test_processes.py::test_a_killed_worker_is_replaced_and_the_others_go_on",
    ),
    Mutant(
        "a worker killed by a signal without a name does not end the supervisor",
        "fastpty/system/signals.py",
        '        return f"signal {number}"',
        "        raise",
        "supervision/test_processes.py::test_a_killed_worker_is_replaced_and_the_others_go_on",
    ),
    Mutant(
        "a worker that ends at once is not started again without a pause",
        "fastpty/supervision/supervisor.py",
        "        if time.monotonic() - ended.started < _RESTART_PAUSE_SECONDS:\n            self._restart_not_before",
        "        if time.monotonic() < ended.started:\n            self._restart_not_before",
        "supervision/test_worker_ends.py::test_a_worker_that_ends_at_once_is_started_again_after_a_pause",
    ),
    Mutant(
        "a supervisor that cannot start a worker tries again",
        "fastpty/supervision/supervisor.py",
        "            if not self._has_started:\n                raise",
        "            if True:\n                raise",
        "supervision/test_worker_ends.py::test_a_supervisor_that_cannot_start_a_worker_tries_again",
    ),
    Mutant(
        "a worker that is stuck is killed",
        "fastpty/supervision/forked_worker.py",
        "        self.send(signal.SIGKILL)",
        "        pass",
        "supervision/test_cheap_and_stuck.py::test_a_worker_stuck_in_one_turn_is_killed_and_replaced",
    ),
    Mutant(
        "a worker that waits is not stuck",
        "fastpty/supervision/heartbeat.py",
        "same = turn != 0 and turn == self._turn",
        "same = turn == self._turn",
        "supervision/test_cheap_and_stuck.py::test_a_worker_stuck_in_one_turn_is_killed_and_replaced",
    ),
    Mutant(
        "the workers of a router that was stopped for a while (SIGSTOP) count as neither stuck nor idle",
        "fastpty/supervision/heartbeat.py",
        "min(since, 1.5 * limit / SAMPLES)",
        "since",
        "supervision/test_heartbeat.py::test_time_without_samples_does_not_count",
    ),
    Mutant(
        "workers with sessions are not ended as idle",
        "fastpty/supervision/heartbeat.py",
        "same = sessions == 0 and accepted == self._accepted",
        "same = accepted == self._accepted",
        "supervision/test_cheap_and_stuck.py::test_an_idle_router_ends_its_workers_and_starts_them_again",
    ),
    Mutant(
        "workers accept no more when their supervisor is killed",
        "fastpty/system/child.py",
        "    linux.prctl(linux.PR_SET_PDEATHSIG, death_signal)\n",
        "",
        "supervision/test_processes.py::test_workers_keep_their_sessions_when_their_supervisor_is_killed",
    ),
    Mutant(
        "sessions go on when the supervisor is killed",
        "fastpty/supervision/forked_worker.py",
        'child.start("worker", be_a_worker, worker.DRAIN_SIGNAL)',
        'child.start("worker", be_a_worker, signal.SIGKILL)',
        "supervision/test_processes.py::test_workers_keep_their_sessions_when_their_supervisor_is_killed",
    ),
    Mutant(
        "the workers of a killed supervisor close its address",
        "fastpty/supervision/worker.py",
        "        self._listeners.close_copies()\n",
        "",
        "supervision/test_addresses_shared.py::test_a_tcp_port_is_free_for_a_new_router_when_its_supervisor_is_killed",
    ),
    Mutant(
        "a new router waits until the workers of a killed supervisor have closed the address",
        "fastpty/listening/places.py",
        "_PREDECESSOR_SECONDS = 2.0",
        "_PREDECESSOR_SECONDS = 0.0",
        "supervision/test_addresses_shared.py::test_a_new_router_waits_until_the_workers_of_a_killed_one_close_their_sockets",
    ),
    Mutant(
        "programs that end are seen though the router's parent ignored SIGCHLD",
        "fastpty/router.py",
        "    signal.signal(signal.SIGCHLD, signal.SIG_DFL)\n",
        "",
        "sessions/test_session_end.py::test_a_router_whose_parent_ignored_sigchld_still_sees_its_programs_end",
    ),
)

RELOAD = (
    Mutant(
        "sessions go on over a reload",
        "fastpty/supervision/forked_worker.py",
        "        self.send(worker.DRAIN_SIGNAL)",
        "        self.send(signal.SIGTERM)",
        "supervision/test_reload.py::test_a_reload_is_for_new_sessions_and_the_old_ones_go_on",
    ),
    Mutant(
        "the old workers accept until the new configuration has been accepted",
        "fastpty/supervision/reload.py",
        "        present = self._supervisor.config\n",
        "        present = self._supervisor.config\n        [each.drain() for each in self._supervisor.active]\n",
        "supervision/test_reload.py::test_a_wrong_configuration_is_refused_and_the_old_one_goes_on",
    ),
    Mutant(
        "a refused reload leaves the old sockets alone",
        "fastpty/listening/places.py",
        "            self.close(keep=previous)\n            raise",
        "            self.close()\n            raise",
        "supervision/test_reload.py::test_a_wrong_configuration_is_refused_and_the_old_one_goes_on",
    ),
    Mutant(
        "a reload does not bind again a socket that stays",
        "fastpty/listening/places.py",
        "known = previous.usable(where) if previous else []",
        "known: list[Place] = []",
        "supervision/test_reload.py::test_a_reload_adds_and_removes_addresses",
    ),
    Mutant(
        "a reload closes a socket that is no longer configured",
        "fastpty/listening/places.py",
        "        self.close(keep=other)\n",
        "",
        "supervision/test_reload.py::test_a_reload_adds_and_removes_addresses",
    ),
    Mutant(
        "a socket file that was removed comes back with a reload",
        "fastpty/listening/places.py",
        "return [] if any(place.listener.lost_file() for place in found) else found",
        "return found",
        "supervision/test_reload.py::test_a_removed_socket_file_costs_no_session_and_comes_back_with_a_reload",
    ),
    Mutant(
        "a reload for which no worker can start is refused, and the old configuration goes on",
        "fastpty/supervision/reload.py",
        '            self._refuse(f"no process can start: {error.strerror}")\n            return\n',
        "            raise\n",
        "supervision/test_worker_ends.py::test_a_reload_for_which_no_worker_can_start_is_refused",
    ),
    Mutant(
        "a terminal that closes stops the router and does not reload it",
        "fastpty/supervision/supervisor.py",
        "elif received.number == signal.SIGHUP and received.code != SI_KERNEL:",
        "elif received.number == signal.SIGHUP:",
        "supervision/test_reload.py::test_a_terminal_that_closes_stops_a_router_in_its_foreground",
    ),
    Mutant(
        "SIGHUP does not reload a router started with nohup",
        "fastpty/supervision/supervisor.py",
        "reloading = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []",
        "reloading = [signal.SIGHUP]",
        "supervision/test_stop.py::test_a_router_started_with_nohup_ignores_sighup",
    ),
)

STOP = (
    Mutant(
        "a stop also ends draining workers",
        "fastpty/supervision/supervisor.py",
        "        for each in self.workers.values():\n            # A worker",
        "        for each in self.active:\n            # A worker",
        "supervision/test_reload.py::test_a_draining_worker_is_stopped_as_the_others_are",
    ),
    Mutant(
        "two stop signals that a worker receives late count as two",
        "fastpty/supervision/supervisor.py",
        "passed_on = worker.KILL_SIGNAL if self._is_stopping else worker.STOP_SIGNAL",
        "passed_on = worker.STOP_SIGNAL",
        "supervision/test_stop.py::test_two_stop_signals_count_twice_even_if_the_worker_reads_both_at_once",
    ),
    Mutant(
        "--stop signals only the router that wrote the pid file",
        "fastpty/service/pidfile.py",
        "    if kind == fcntl.F_UNLCK:\n        return None\n",
        "    if kind == fcntl.F_UNLCK:\n        return int(os.pread(descriptor, 20, 0))\n",
        "service/test_background.py::test_stop_does_not_signal_a_stranger_that_a_stale_pid_file_names",
    ),
    Mutant(
        "the pid file of a running router is not taken",
        "fastpty/service/pidfile.py",
        "    if running is not None:\n",
        "    if False:\n",
        "service/test_background.py::test_the_pid_file_of_a_running_router_is_not_taken",
    ),
    Mutant(
        "an error of a pid file names its line in the configuration",
        "fastpty/configuration/build.py",
        "                origins[value[0]] = setting.origin\n",
        "                pass\n",
        "service/test_background.py::test_an_unusable_pid_file_is_reported_with_file_and_line",
    ),
    Mutant(
        "the start waits for the sockets of wait-for-socket",
        "fastpty/jail/steps.py",
        '        *_waits(config, config.wait_socket_seconds, "socket"),\n',
        "",
        "hooks/test_hooks.py::test_the_start_waits_for_a_socket_as_the_user",
    ),
    Mutant(
        "vacuum does not remove another router's pid file",
        "fastpty/service/pidfile.py",
        "if (there.st_dev, there.st_ino) == identity:",
        "if True:",
        "service/test_background.py::test_vacuum_does_not_remove_another_router_s_pid_file",
    ),
)

LOG = (
    Mutant(
        "a log whose reader is gone does not stop the router",
        "fastpty/log.py",
        "        except OSError:\n            return False",
        "        except BlockingIOError:\n            return False",
        "service/test_background.py::test_a_log_whose_reader_is_gone_does_not_stop_the_router",
    ),
    Mutant(
        "a full disk under the log does not stop the router",
        "fastpty/log.py",
        "        except OSError:\n            return False",
        "        except BlockingIOError:\n            return False",
        "service/test_log.py::test_a_full_log_does_not_stop_the_router",
    ),
    Mutant(
        "a log whose reader has stopped reading does not stop the sessions",
        "fastpty/log.py",
        "return bool(poll.poll(0)) and os.write(",
        "return os.write(",
        "service/test_log.py::test_a_log_reader_that_has_stopped_does_not_stop_the_sessions",
    ),
    Mutant(
        "a log line longer than a pipe accepts at once does not stop the sessions",
        "fastpty/log.py",
        '"backslashreplace")[: _LINE_BYTES_MOST - 2]',
        '"backslashreplace")',
        "service/test_log.py::test_a_long_line_in_an_unread_log_does_not_stop_the_sessions",
    ),
    Mutant(
        "lost log lines are counted",
        "fastpty/log.py",
        "        if not self._try(record):\n            self._lost += 1",
        "        self._try(record)",
        "service/test_log.py::test_a_log_reader_that_has_stopped_does_not_stop_the_sessions",
    ),
    Mutant(
        "a syslog daemon that does not read does not stop the router",
        "fastpty/log.py",
        "socket.SOCK_DGRAM | socket.SOCK_NONBLOCK",
        "socket.SOCK_DGRAM",
        "service/test_background.py::test_syslog_gets_one_line_per_event_and_may_stop_or_restart",
    ),
    Mutant(
        "a log file that was moved away is reopened",
        "fastpty/log.py",
        "                handler.reopen(complains=complains)",
        "                pass",
        "service/test_background.py::test_the_log_goes_to_a_file_and_is_opened_anew_at_a_reload",
    ),
)
