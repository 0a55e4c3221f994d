"""The limits of sessions, and what ends with them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

LIMITS = (
    Mutant(
        "max-sessions holds within a worker",
        "fastpty/access/limits.py",
        "if seat not in self._mine and self._lock(seat):",
        "if self._lock(seat):",
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "max-sessions holds over all workers",
        "fastpty/access/limits.py",
        "if seat not in self._mine and self._lock(seat):",
        "if seat not in self._mine:",
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "a session that has ended frees its place",
        "fastpty/sessions/handler.py",
        "            self._limits.leave(self._seats.pop(end.number, []))\n        if",
        "            self._seats.pop(end.number, [])\n        if",
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "a killed worker's places are freed",
        "fastpty/access/limits.py",
        "            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)",
        '            if os.pread(self._file, 1, seat) == b"x":\n'
        "                raise BlockingIOError\n"
        '            os.pwrite(self._file, b"x", seat)',
        "access/test_limits.py::test_a_killed_worker_gives_its_places_back",
    ),
    Mutant(
        "max-sessions-per-uid holds",
        "fastpty/access/limits.py",
        "            (uid * SESSIONS_MOST, config.max_sessions_per_uid,",
        "            (uid * SESSIONS_MOST, None,",
        "access/test_limits.py::test_max_sessions_per_uid_counts_each_user_alone",
    ),
    Mutant(
        "max-sessions-per-uid counts each user separately",
        "fastpty/access/limits.py",
        "            (uid * SESSIONS_MOST, config",
        "            (0 * SESSIONS_MOST, config",
        "access/test_limits.py::test_max_sessions_per_uid_counts_each_user_alone",
    ),
    Mutant(
        "a client over its user's limit takes no place from others",
        "fastpty/access/limits.py",
        "                self.leave(taken)\n                raise",
        "                raise",
        "access/test_limits.py::test_a_client_refused_by_its_user_s_limit_takes_no_place_from_others",
    ),
    Mutant(
        "a session that could not start takes no place",
        "fastpty/sessions/handler.py",
        "            self._limits.leave(self._seats.pop(number))",
        "            self._seats.pop(number)",
        "access/test_limits.py::test_a_program_that_cannot_start_takes_no_place",
    ),
    Mutant(
        "a session ends when its lifetime is over",
        "fastpty/supervision/worker.py",
        "lifetime_seconds=config.lifetime_seconds or 0",
        "lifetime_seconds=0",
        "access/test_limits.py::test_a_session_ends_when_its_lifetime_is_over_even_if_it_is_used",
    ),
    Mutant(
        "a session that is in use also ends when its lifetime is over",
        "fastpty/relay/deadlines.pxd",
        "elif loop.lifetime_ns > 0 and session.started_ns +",
        "elif loop.lifetime_ns > 0 and session.active_ns +",
        "access/test_limits.py::test_a_session_ends_when_its_lifetime_is_over_even_if_it_is_used",
    ),
    Mutant(
        "an idle session is ended",
        "fastpty/supervision/worker.py",
        "idle_seconds=config.idle_timeout_seconds or 0",
        "idle_seconds=0",
        "access/test_limits.py::test_an_idle_session_ends_with_a_message",
    ),
    Mutant(
        "a session that is used is not idle",
        "fastpty/relay/step.pxd",
        "        session.active_ns = loop.now_ns   #",
        "        pass   #",
        "sessions/test_session_end.py::test_an_idle_session_goes_on_unless_idle_timeout_is_set",
    ),
    Mutant(
        "a uwsgi client that never sends anything is disconnected",
        "fastpty/supervision/worker.py",
        "greeting_seconds=config.greeting_timeout_seconds or 0",
        "greeting_seconds=0",
        "access/test_limits.py::test_a_uwsgi_client_that_sends_nothing_is_disconnected_and_another_is_not",
    ),
    Mutant(
        "a uwsgi client that has sent something is not disconnected for being silent",
        "fastpty/relay/deadlines.pxd",
        "session.peer.framed and session.input.channel.read_bytes == 0\n        and",
        "session.peer.framed\n        and",
        "access/test_limits.py::test_a_uwsgi_client_that_sends_nothing_is_disconnected_and_another_is_not",
    ),
    Mutant(
        "a raw client need not send anything",
        "fastpty/relay/deadlines.pxd",
        "loop.greeting_ns > 0 and session.peer.framed and session.input.channel.read_bytes == 0\n        and",
        "loop.greeting_ns > 0 and session.input.channel.read_bytes == 0\n        and",
        "access/test_limits.py::test_greeting_timeout_does_not_apply_to_raw_clients",
    ),
    Mutant(
        "session-buffer limits input",
        "fastpty/supervision/worker.py",
        "        buffer_bytes=config.buffer_bytes,\n",
        "",
        "access/test_limits.py::test_session_buffer_limits_how_much_input_a_session_holds",
    ),
    Mutant(
        "session-buffer limits output",
        "fastpty/relay/step.pxd",
        "    return min(<size_t>(GATHER_ALONE_BYTES if is_alone else GATHER_BYTES), <size_t>loop.pool.buffer_bytes)",
        "    return <size_t>GATHER_BYTES",
        "relay/test_relay.py::test_every_byte_comes_back_through_the_smallest_buffers",
    ),
    Mutant(
        "listen limits the connections that wait",
        "fastpty/supervision/worker.py",
        "socket.listen(self._config.backlog)",
        "socket.listen(100)",
        "access/test_limits.py::test_listen_limits_how_many_connections_wait_to_be_accepted",
    ),
    Mutant(
        "max-startups limits the handshakes at a time",
        "fastpty/gateways/tls_connections.py",
        "threading.Semaphore(handshakes_most)",
        "threading.Semaphore(64)",
        "access/test_limits.py::test_max_startups_limits_tls_handshakes_at_a_time_and_waiting_clients_are_served",
    ),
)

BOUNDS = (
    Mutant(
        "a long timeout does not overflow the relay's clock",
        "fastpty/configuration/values.py",
        "    if number is None or not 0 <= number <= _SECONDS_MOST:",
        "    if number is None:",
        "configuration/test_options.py::test_a_bad_value_is_refused_with_a_reason",
    ),
    Mutant(
        "a timeout that is almost zero does not become no timeout",
        "fastpty/configuration/values.py",
        "    if number < _SECONDS_LEAST:",
        "    if number == 0:",
        "configuration/test_options.py::test_a_bad_value_is_refused_with_a_reason",
    ),
    Mutant(
        "a long timeout does not overflow the supervisor's epoll_wait",
        "fastpty/supervision/supervisor.py",
        "min(wait, _TIMEOUT_MOST_SECONDS)",
        "wait",
        "access/test_limits.py::test_the_longest_timeouts_work",
    ),
    Mutant(
        "more sockets than the relay has room for are refused at the start",
        "fastpty/configuration/checks.py",
        "    if len(for_sessions) > LISTENERS_MOST:",
        "    if False:",
        "access/test_limits.py::test_more_sockets_than_a_relay_can_watch_are_refused",
    ),
)

CGROUPS = (
    Mutant(
        "all processes of a session end with it",
        "fastpty/sessions/handler.py",
        "            self._cgroups.end(end.number)\n        self._undecided",
        "            pass\n        self._undecided",
        "sessions/test_session_cgroup.py::test_a_daemon_ends_with_its_session",
    ),
    Mutant(
        "the end of a session ends no process of another session",
        "fastpty/sessions/cgroups.py",
        '        self._kill(f"{os.getpid()}-{number}")',
        '        for name in self._names():\n            if name != "router":\n                self._kill(name)',
        "sessions/test_session_cgroup.py::test_each_session_has_its_own_cgroup",
    ),
    Mutant(
        "the processes of a killed worker's sessions end",
        "fastpty/router.py",
        "worker_ended=cgroups.end_of_worker if cgroups else lambda pid: None",
        "worker_ended=lambda pid: None",
        "sessions/test_session_cgroup.py::test_processes_of_a_killed_worker_s_sessions_are_killed",
    ),
    Mutant(
        "an empty cgroup is removed",
        "fastpty/sessions/cgroups.py",
        "            self._left.add(name)\n        except FileNotFoundError",
        "        except FileNotFoundError",
        "sessions/test_session_cgroup.py::test_a_daemon_ends_with_its_session",
    ),
    Mutant(
        "the next router removes the cgroups that an earlier one has left",
        "fastpty/sessions/cgroups.py",
        "            cgroup_base.sweep(above)\n",
        "",
        "sessions/test_session_cgroup.py::test_a_router_that_ends_leaves_no_process_and_the_next_no_cgroup",
    ),
    Mutant(
        "a shared terminal's program that cannot run leaves no cgroup",
        "fastpty/sessions/starter.py",
        "        except OSError:\n            self._cgroups.end(number)\n            raise\n",
        "        except OSError:\n            raise\n",
        "sessions/test_session_cgroup.py::test_a_shared_terminal_s_program_that_cannot_run_leaves_no_cgroups",
    ),
)
