"""Notices that nobody reads, children that nobody waits for, and account databases that do not answer."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SLOW = "access/test_slow_accounts.py::"

REMAINS = (
    Mutant(
        "remains: marks of unread notices do not use up the limit of descriptors that errands need",
        "fastpty/relay/notice.pxd",
        "    half.rlim_cur = files.rlim_cur // 2\n",
        "",
        "access/test_unread_notices.py::test_notices_that_refused_clients_do_not_read_keep_no_session_from_ending",
    ),
    Mutant(
        "remains: children that a program has made the worker's are reaped",
        "fastpty/sessions/handler.py",
        "        child.reap_unknown(self._children)\n",
        "",
        "relay/test_unreaped.py::test_children_that_a_program_makes_the_worker_s_are_reaped",
    ),
    Mutant(
        "remains: only unknown children are reaped before the relay does",
        "fastpty/system/child.py",
        "            if ended.si_pid in known:\n                return  # it hides the others until it is reaped\n",
        "",
        "relay/test_unreaped.py::test_a_leader_that_waits_to_be_reaped_keeps_its_exit_status",
    ),
    Mutant(
        "slow accounts: the worker waits for an answer only for a moment",
        "fastpty/access/lookups.py",
        "        until = began + max(self._credit, _LEAST_SECONDS)\n",
        "        until = began + 1000\n",
        _SLOW + "test_a_slow_account_database_delays_no_session",
    ),
    Mutant(
        "slow accounts: the worker does not look accounts up itself",
        "fastpty/access/lookups.py",
        "    return _lookups.find(uid)\n",
        "    return accounts.account_of(uid)\n",
        _SLOW + "test_a_slow_account_database_delays_no_session",
    ),
    Mutant(
        "slow accounts: nobody waits behind a look-up that is slow",
        "fastpty/access/lookups.py",
        "            is_free = not self._pending\n",
        "            is_free = True\n",
        _SLOW + "test_slow_answers_take_only_a_part_of_a_worker_s_time",
    ),
    Mutant(
        "slow accounts: waiting is paid for",
        "fastpty/access/lookups.py",
        "        self._credit -= max(0.0, self._credit_at - began - _USUAL_SECONDS)\n",
        "",
        _SLOW + "test_slow_answers_take_only_a_part_of_a_worker_s_time",
    ),
    Mutant(
        "slow accounts: no answer is not taken for no account",
        "fastpty/access/lookups.py",
        "            raise RefusedError(_NO_ANSWER)\n",
        "            raise NoAccountError(_NO_ANSWER)\n",
        _SLOW + "test_a_denied_member_is_refused_while_its_groups_are_not_known",
    ),
    Mutant(
        "slow accounts: a late answer counts for the next try",
        "fastpty/access/lookups.py",
        "            self._late[self._pending.pop(0)] = time.monotonic() + _LATE_SECONDS, answer\n",
        "            self._late[self._pending.pop(0)] = time.monotonic() + 0.01, answer\n",
        _SLOW + "test_a_late_answer_counts_for_the_next_try",
    ),
    Mutant(
        "a client is refused if its groups cannot be looked up for lack of a descriptor",
        "fastpty/access/rules.py",
        "    except NoAccountError:\n        return None\n",
        "    except (NoAccountError, OSError):\n        return None\n",
        "access/test_denied.py::test_a_client_is_refused_if_its_groups_cannot_be_looked_up",
    ),
)
