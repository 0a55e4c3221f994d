"""The background of a session ends with it, and no process of another session does."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TESTS = "sessions/test_hang_up.py::"

HANG_UP = (
    Mutant(
        "the background is hung up",
        "fastpty/relay/hang_up.pxd",
        "    if not session.terminal.hangs_up:\n        return\n",
        "    session.terminal.hangs_up = False\n    return\n",
        _TESTS + "test_background_jobs_are_hung_up_with_their_session",
    ),
    Mutant(
        "an orphan in the background is found",
        "fastpty/relay/background.pxd",
        "        background_field(fields, STAT_CMINFLT) != 0 or background_field(fields, STAT_CMAJFLT) != 0\n",
        "        False\n",
        _TESTS + "test_an_orphan_in_the_background_is_found",
    ),
    Mutant(
        "a background that /proc hides is hung up",
        "fastpty/errands/hang_up.py",
        "if proc is None or _hides_some(proc) else",
        "if proc is None else",
        "sessions/test_hang_up_all.py::test_a_background_that_proc_hides_is_hung_up",
    ),
    Mutant(
        "a leader without children costs no scan",
        "fastpty/relay/hang_up.pxd",
        "            not loop.errands.reads_proc or background_may_exist(session.terminal.leader))\n",
        "            True)\n",
        _TESTS + "test_a_leader_that_never_had_a_child_costs_no_scan",
    ),
    Mutant(
        "a /proc of another pid namespace is not believed",
        "fastpty/system/own_proc.py",
        '        return os.readlink("/proc/self" if proc is None else "self", dir_fd=proc) == str(os.getpid())\n',
        "        return True\n",
        _TESTS + "test_in_a_pid_namespace_the_background_is_hung_up",
    ),
    Mutant(
        "the leader is reaped only after the errand",
        "fastpty/relay/terminal.pxd",
        "    if terminal.pidfd < 0 or terminal.hangs_up:\n",
        "    if terminal.pidfd < 0:\n",
        _TESTS + "test_a_background_job_that_outlives_the_hang_up_is_killed_after_the_grace_time",
    ),
    Mutant(
        "no process is signalled once the session's number is free",
        "fastpty/errands/hang_up.py",
        " and not _has_ended(pidfd) and session.exists():\n",
        " and not _has_ended(pidfd):\n",
        _TESTS + "test_no_process_is_signalled_once_the_leader_is_reaped",
    ),
    Mutant(
        "a pid that another process got is left alone",
        "fastpty/errands/hang_up.py",
        "            if session.has(pid) and not _has_ended(pidfd) and session.exists():\n",
        "            if not _has_ended(pidfd) and session.exists():\n",
        _TESTS + "test_a_pid_that_another_process_gets_meanwhile_is_left_alone",
    ),
    Mutant(
        "nohup is respected",
        "fastpty/errands/hang_up.py",
        "            is_spared = ignores or (ignores is None",
        "            is_spared = (ignores is None",
        _TESTS + "test_what_ignores_the_hang_up_or_has_left_the_session_lives_on",
    ),
    Mutant(
        "without /proc nothing is killed that may ignore the hang-up",
        "fastpty/errands/hang_up.py",
        "            is_spared = ignores or (ignores is None and signal.SIGKILL in signals)\n",
        "            is_spared = ignores\n",
        _TESTS + "test_a_process_that_may_ignore_the_hang_up_is_not_killed",
    ),
    Mutant(
        "what outlives the hang-up is killed",
        "fastpty/errands/hang_up.py",
        "    for _ in range(_KILLS if remains else 0):\n",
        "    for _ in ():\n",
        _TESTS + "test_a_background_job_that_outlives_the_hang_up_is_killed_after_the_grace_time",
    ),
    Mutant(
        "a stopped job in the background is continued, so that it can end",
        "fastpty/errands/hang_up.py",
        "(signal.SIGHUP, signal.SIGCONT), hung_up, deadline)",
        "(signal.SIGHUP,), hung_up, deadline)",
        _TESTS + "test_a_stopped_process_is_continued_so_that_it_can_end",
    ),
    Mutant(
        "a hang-up has the rights of the session's user",
        "fastpty/errands/hang_up.py",
        "        _take_rights(uid)\n",
        "        pass\n",
        _TESTS + "test_a_user_s_hang_up_does_not_reach_a_process_of_root",
    ),
    Mutant(
        "the foreground group is hung up once",
        "fastpty/errands/hang_up.py",
        " and os.getpgid(pid) != self.foreground\n",
        "\n",
        _TESTS + "test_the_foreground_group_is_left_to_the_relay",
    ),
    Mutant(
        "a second stop kills the background at once",
        "fastpty/relay/hang_up.pxd",
        "            if at_once:\n                session_hang_up_background(loop, session)\n",
        "",
        _TESTS + "test_a_second_stop_kills_background_jobs_at_once",
    ),
    Mutant(
        "an errand that was lost is sent again",
        "fastpty/relay/deadlines.pxd",
        "        session_hang_up_background(loop, session)\n",
        "        pass\n",
        _TESTS + "test_a_session_whose_errand_is_lost_ends_all_the_same",
    ),
    Mutant(
        "a new keeper is heard even if its socket has the number of the old one's",
        "fastpty/_relay.pyx",
        "        if queue >= 0:\n            # A new",
        "        if queue >= 0 and queue != self.loop.errands.queue:\n            # A new",
        _TESTS + "test_a_session_whose_errand_is_lost_ends_all_the_same",
    ),
)
