"""What the router gives up, and which accounts and namespaces it trusts while it is still root."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PRIVILEGES = (
    Mutant(
        "a router that stays root loads no library of a changed root",
        "fastpty/access/accounts.py",
        "        return _account_in_files(uid), ()\n",
        "        return account_of(uid), ()\n",
        "access/test_run_as_jail.py::test_no_library_of_a_changed_root_is_loaded_into_the_router",
    ),
    Mutant(
        "in a changed root only its own accounts count",
        "fastpty/sessions/program.py",
        "        if not self._config.changes_root:\n",
        "        if True:\n",
        "access/test_run_as_jail.py::test_in_a_changed_root_accounts_come_from_its_passwd_and_group_files",
    ),
    Mutant(
        "account files in a changed root that others may write to are refused",
        "fastpty/access/accounts.py",
        "            if not _is_root_s_alone(os.fstat(file.fileno())):\n",
        "            if False:\n",
        "access/test_run_as_jail.py::test_account_files_in_a_changed_root_must_be_writable_by_root_only",
    ),
    Mutant(
        "another user's namespaces are not entered",
        "fastpty/jail/join.py",
        "    if uid not in (0, os.geteuid()):\n",
        "    if False:\n",
        "jail/test_namespaces.py::test_setns_refuses_namespaces_that_another_user_serves",
    ),
    Mutant(
        "with uid, the router gives up root",
        "fastpty/jail/steps.py",
        "        lambda: privileges.become(config, groups, progress.config.entered),\n",
        "",
        "jail/test_jail.py::test_root_cannot_be_regained",
    ),
    Mutant(
        "the supplementary groups of root are given up",
        "fastpty/jail/privileges.py",
        "        groups = _groups_of(config.uid, os.getgid() if config.gid is None else config.gid)\n",
        "        groups = os.getgroups()\n",
        "jail/test_jail.py::test_all_ids_and_groups_are_the_users_and_no_capability_is_left",
    ),
    Mutant(
        "a change of ids without effect stops the start",
        "fastpty/jail/privileges.py",
        "os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set",
        "set",
        "jail/test_jail.py::test_a_step_without_effect_ends_the_start",
    ),
    Mutant(
        "a change of groups without effect stops the start",
        "fastpty/jail/privileges.py",
        " or set(os.getgroups()) != set(expected):\n",
        ":\n",
        "jail/test_jail.py::test_a_step_without_effect_ends_the_start[setgroups]",
    ),
    Mutant(
        "a way back to root stops the start",
        "fastpty/jail/privileges.py",
        "        _check_no_way_back(gid, keep)\n",
        "        pass\n",
        "jail/test_jail.py::test_root_that_could_be_regained_ends_the_start",
    ),
    Mutant(
        "immediate-uid takes effect before the hooks",
        "fastpty/jail/steps.py",
        "        partial(privileges.become_immediately, config),\n",
        "",
        "jail/test_privileges.py::test_the_immediate_user_is_there_before_the_hooks_and_the_sockets",
    ),
    Mutant(
        "with cap, the router has only the listed capabilities",
        "fastpty/jail/privileges.py",
        "    if config.cap:\n        _set_capabilities(config.cap)\n",
        "",
        "jail/test_privileges.py::test_router_and_sessions_have_exactly_the_requested_capabilities",
    ),
    Mutant(
        "no program can gain a capability that was not kept",
        "fastpty/jail/privileges.py",
        "            if linux.prctl(linux.PR_CAPBSET_READ, number):\n",
        "            if linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_IS_SET, number):\n",
        "jail/test_privileges.py::test_no_program_of_the_jail_can_gain_a_capability_that_was_not_kept",
    ),
    Mutant(
        "a capability too many stops the start",
        "fastpty/jail/privileges.py",
        "linux.capget() != (mask, mask, mask) or ",
        "",
        "jail/test_privileges.py::test_one_capability_too_many_ends_the_start",
    ),
    Mutant(
        "a key of uWSGI that would confine the shell is not ignored",
        "fastpty/configuration/build.py",
        "    if is_confining(setting.name):\n",
        "    if False:\n",
        "configuration/test_config.py::test_an_unsupported_key_that_confines_is_an_error_even_without_strict",
    ),
)
