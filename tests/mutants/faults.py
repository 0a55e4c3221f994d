"""Faults of the machine: descriptors, ptys, memory and processes run out, clocks jump."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_NUMBER = "    session.number = atomic_add_fetch(loop.last_number, 1, ATOMIC_RELAXED)\n"


FAULTS = (
    Mutant(
        "a client that connects when descriptors are exhausted gets a message",
        "fastpty/relay/accept.pxd",
        "    if listeners.spare_fd >= 0:\n        close(listeners.spare_fd)\n    if listener_accept_one",
        "    if listener_accept_one",
        "sessions/test_session_start.py::test_clients_that_find_no_descriptor_get_their_line_at_once",
    ),
    Mutant(
        "the spare descriptor is reserved again after a client was refused",
        "fastpty/relay/accept.pxd",
        "        listener_pause(loop, listeners, index)\n    listeners.spare_fd = eventfd(",
        "        listener_pause(loop, listeners, index)\n    listeners.spare_fd = -1 if fd >= 0 else eventfd(",
        "sessions/test_session_start.py::test_clients_that_find_no_descriptor_get_their_line_at_once",
    ),
    Mutant(
        "accepting goes on after a pause",
        "fastpty/relay/accept.pxd",
        "            listener_watch_again(loop, listeners, index)\n\n",
        "            pass\n\n",
        "sessions/test_session_start.py::test_accepting_goes_on_after_a_pause_when_not_even_the_spare_descriptor_helps",
    ),
    Mutant(
        "accepting pauses when no descriptor is free, instead of retrying in a busy loop",
        "fastpty/relay/accept.pxd",
        "    else:\n        listener_pause(loop, listeners, index)\n    listeners.spare_fd",
        "    listeners.spare_fd",
        "sessions/test_session_start.py::test_accepting_goes_on_after_a_pause_when_not_even_the_spare_descriptor_helps",
    ),
    Mutant(
        "a failed start closes what it has opened",
        "fastpty/_spawn.pyx",
        "            if master >= 0:\n                close(master)\n            raise",
        "            raise",
        "sessions/test_session_start.py::test_a_start_with_many_open_descriptors_copies_none_of_them",
    ),
    Mutant(
        "a start among many sessions does not copy their descriptors",
        "fastpty/_spawn.pyx",
        "    if plan.slave < MANY_DESCRIPTORS or slot_fd < 0",
        "    if True",
        "sessions/test_session_start.py::test_a_start_with_many_open_descriptors_copies_none_of_them",
    ),
    Mutant(
        "no descriptor of a terminal stays open between starts",
        "fastpty/_spawn.pyx",
        "        dup3(filler_fd, slot_fd, O_CLOEXEC)\n",
        "        pass\n",
        "sessions/test_session_start.py::test_a_start_with_many_open_descriptors_copies_none_of_them",
    ),
    Mutant(
        "a program starts in its cgroup and is not moved there, which would block the worker",
        "fastpty/_spawn.pyx",
        "raw_clone3(&args, child_main, plan)",
        "-ENOSYS",
        "sessions/test_session_cgroup.py::test_a_program_begins_in_its_cgroup_and_moves_there_only_where_the_kernel_refuses_that",
    ),
    Mutant(
        "a child that could not run its program leaves no zombie",
        "fastpty/_spawn.pyx",
        "        waitid(P_PIDFD, pidfd[0], &info, WEXITED | WAIT_ALL)\n",
        "",
        "sessions/test_session_start.py::test_the_client_and_the_log_get_a_line_about_a_command_that_cannot_run",
    ),
    Mutant(
        "a client gets a message when ptys are exhausted",
        "fastpty/sessions/handler.py",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except (OSError, RefusedError) as error:\n",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except RefusedError as error:\n",
        "sessions/test_session_start.py::test_a_client_that_finds_no_pty_gets_a_line_and_others_go_on",
    ),
    Mutant(
        "a client gets a message when the fork fails",
        "fastpty/sessions/handler.py",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except (OSError, RefusedError) as error:\n",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except RefusedError as error:\n",
        "relay/test_faults.py::test_a_failed_fork_is_reported_and_other_sessions_go_on",
    ),
    Mutant(
        "a client gets a message when the control group is full",
        "fastpty/sessions/handler.py",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except (OSError, RefusedError) as error:\n",
        "            program, (master, pid, pidfd) = self._start(number, client, window)\n"
        "        except RefusedError as error:\n",
        "relay/test_faults.py::test_a_full_control_group_is_reported_and_other_sessions_go_on",
    ),
    Mutant(
        "a session that cannot be added to epoll ends",
        "fastpty/relay/begin.pxd",
        "        return session_abandon(loop, session, errno)",
        "        return 0",
        "sessions/test_session_start.py::test_a_session_that_epoll_refuses_gets_a_line_and_leaves_nothing",
    ),
    Mutant(
        "a channel without memory for a buffer is not taken for one that has ended",
        "fastpty/relay/channel.pxd",
        "    if channel.no_memory:\n        return\n    while",
        "    if channel.no_memory:\n        channel.state = CHANNEL_DRAINING\n        return\n    while",
        "relay/test_faults.py::test_floods_without_memory_end_some_sessions_and_the_others_lose_nothing",
    ),
    Mutant(
        "a channel that waits for memory tries again",
        "fastpty/relay/deadlines.pxd",
        "        loop_wake(loop, &session.input)\n        loop_wake(loop, &session.output)\n",
        "        pass\n",
        "relay/test_faults.py::test_floods_without_memory_end_some_sessions_and_the_others_lose_nothing",
    ),
    Mutant(
        "a session that waits for memory ends after a while",
        "fastpty/relay/lifecycle.pxd",
        "loop.now_ns - task.no_memory_since_ns > NO_MEMORY_MOST_MS",
        "loop.now_ns - task.no_memory_since_ns > 3600 * NO_MEMORY_MOST_MS",
        "relay/test_faults.py::test_floods_without_memory_end_some_sessions_and_the_others_lose_nothing",
    ),
    Mutant(
        "a session that reads goes on when the kernel had no memory for a moment",
        "fastpty/relay/channel.pxd",
        "    channel.no_memory = memory_is_short(got)\n",
        "    channel.no_memory = False\n",
        "relay/test_rare_faults.py::test_a_moment_without_memory_in_the_kernel_costs_no_byte",
    ),
    Mutant(
        "a session that writes goes on when the kernel had no memory for a moment",
        "fastpty/relay/channel.pxd",
        "    channel.no_memory = memory_is_short(sent)\n",
        "    channel.no_memory = False\n",
        "relay/test_rare_faults.py::test_a_moment_without_memory_in_the_kernel_costs_no_byte",
    ),
    Mutant(
        "writing to a viewer is retried with pauses when the kernel has no memory, and ends after a while",
        "fastpty/relay/shared_step.pxd",
        "    elif not session_waits_for_memory(loop, task) and channel.readable:\n",
        "    elif channel.readable:\n",
        "relay/test_rare_faults.py::test_a_session_without_memory_in_the_kernel_ends_after_a_while_and_says_why",
    ),
    Mutant(
        "a listener that could not be added to epoll is added later",
        "fastpty/relay/accept.pxd",
        "        failure[0] = listener_watch_again(loop, listeners, index)\n",
        "        listener_watch(loop, listeners, index)\n",
        "relay/test_rare_faults.py::test_adding_a_listener_to_epoll_is_retried",
    ),
    Mutant(
        "adding a listener to epoll is retried until it succeeds",
        "fastpty/relay/accept.pxd",
        "            listener_watch_again(loop, listeners, index)\n\n",
        "            listener_watch(loop, listeners, index)\n\n",
        "relay/test_rare_faults.py::test_adding_a_listener_to_epoll_is_retried",
    ),
    Mutant(
        "a killed leader that does not end does not block the worker",
        "fastpty/relay/terminal.pxd",
        "&info, WEXITED | WNOHANG | WAIT_ALL)",
        "&info, WEXITED | WAIT_ALL)",
        "relay/test_rare_faults.py::test_a_killed_leader_that_does_not_end_delays_nobody",
    ),
    Mutant(
        "a leader is reaped even if no event reports its end",
        "fastpty/relay/lifecycle.pxd",
        "            loop_retry(loop, &session.retry_reap)\n",
        "            pass\n",
        "relay/test_rare_faults.py::test_a_killed_leader_that_does_not_end_delays_nobody",
    ),
    Mutant(
        "a shared program that did not start keeps no worker awake",
        "fastpty/relay/begin.pxd",
        _NUMBER,
        _NUMBER + "    loop.heartbeat.sessions = loop.live\n",
        "relay/test_rare_faults.py::test_a_shared_program_that_has_ended_does_not_keep_its_worker",
    ),
    Mutant(
        "a shared program that did not start is not counted as a session",
        "fastpty/relay/begin.pxd",
        _NUMBER,
        _NUMBER + "    loop.heartbeat.accepted += 1\n",
        "relay/test_rare_faults.py::test_a_shared_program_that_has_ended_does_not_keep_its_worker",
    ),
    Mutant(
        "the end of a session is logged where memory is short",
        "fastpty/log.py",
        "            self._reserve.close()\n",
        "            self._lost += 1\n            return\n",
        "service/test_background.py::test_a_line_is_logged_even_if_memory_is_short",
    ),
    Mutant(
        "a clock that jumps ends no session early and keeps no idle one",
        "fastpty/relay/busy_poll.pxd",
        "    clock_gettime(CLOCK_MONOTONIC, &now)",
        "    clock_gettime(0, &now)",
        "relay/test_faults.py::test_a_clock_that_jumps_ends_no_session_and_keeps_none",
    ),
    Mutant(
        "connections that are dropped leave no descriptor",
        "fastpty/relay/lifecycle.pxd",
        "    if not session.peer.is_guarded:\n        close(fd)\n",
        "    if not session.peer.is_guarded:\n        pass\n",
        "relay/test_faults.py::test_ten_thousand_connections_dropped_at_any_point_leave_nothing_behind",
    ),
    Mutant(
        "a client that sends byte by byte is served",
        "fastpty/wire/uwsgi.pxd",
        "            if used == size:\n                return used\n",
        "            if used == size:\n                parser.header_bytes = 0\n                return used\n",
        "relay/test_faults.py::test_a_client_that_sends_a_byte_at_a_time_is_served_and_delays_nobody",
    ),
    Mutant(
        "only a STDIN frame has a payload",
        "fastpty/wire/uwsgi.pxd",
        "    if frame.kind == FRAME_STDIN:\n        parser.payload_left = size\n",
        "    parser.payload_left = size\n    if frame.kind == FRAME_STDIN:\n        pass\n",
        "wire/test_frames_of_uwsgi.py::"
        "test_only_stdin_frames_have_a_payload_whatever_the_size_field_of_others_holds[fastpty-two writes]",
    ),
    Mutant(
        "programs that do not read do not delay other sessions",
        "fastpty/_spawn.pyx",
        "posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)",
        "posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)",
        "relay/test_faults.py::test_sixty_four_floods_to_programs_that_do_not_read_delay_nobody",
    ),
    Mutant(
        "a relay that was stopped and continued goes on",
        "fastpty/_relay.pyx",
        "            if result == -EINTR:\n",
        "            if result == -EINTR and self.draining:\n",
        "supervision/test_cheap_and_stuck.py::test_a_router_that_was_stopped_and_continued_goes_on",
    ),
)
