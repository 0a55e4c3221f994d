"""What hooks and sessions inherit from the router's process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_VARIABLES = "sessions/test_environment_of_sessions.py::"
_DOORS = "sessions/test_inherited.py::"
_ALL = f"{_DOORS}test_a_session_inherits_what_the_router_was_started_with_and_no_changes_of_its_own"
_HANDED_ON = f"{_VARIABLES}test_hooks_and_sessions_inherit_all_variables_but_those_about_the_router"
_HOME = f"{_VARIABLES}test_with_uid_sessions_and_its_hooks_have_the_account_s_home"
_TAKE_ACCOUNT = "        *([] if groups is None else [partial(_take_account, progress)]),\n"

ENVIRONMENT = (
    Mutant(
        "hooks and sessions do not inherit the router's own variables",
        "fastpty/jail/steps.py",
        "        inherited.remove_own_variables,\n",
        "",
        _HANDED_ON,
    ),
    Mutant(
        "hooks and sessions do not inherit the router's settings",
        "fastpty/jail/inherited.py",
        "startswith((*_OPTIONS, *_SERVICE))",
        "startswith(_SERVICE)",
        _HANDED_ON,
    ),
    Mutant(
        "hooks and sessions do not inherit the service's socket and watchdog variables",
        "fastpty/jail/inherited.py",
        "startswith((*_OPTIONS, *_SERVICE))",
        "startswith(_OPTIONS)",
        _HANDED_ON,
    ),
    Mutant(
        "a variable whose name only begins like a removed one is inherited",
        "fastpty/jail/inherited.py",
        '_SERVICE = ("LISTEN_", "WATCHDOG_")',
        '_SERVICE = ("LISTEN", "WATCHDOG_")',
        _HANDED_ON,
    ),
    Mutant(
        "hooks and sessions do not inherit the service's log and notification variables",
        "fastpty/jail/inherited.py",
        " and name not in _SERVICE_NAMES",
        "",
        _HANDED_ON,
    ),
    Mutant(
        "hooks and sessions do not inherit a locale that Python has set",
        "fastpty/jail/inherited.py",
        "kept = without_router_variables(without_interpreter_variables(os.environ, names_at_start()))",
        "kept = without_router_variables(os.environ)",
        f"{_VARIABLES}test_a_locale_that_the_interpreter_has_set_for_itself_is_not_handed_on[None]",
    ),
    Mutant(
        "hooks and sessions inherit a locale that was given",
        "fastpty/jail/inherited.py",
        'if name in at_start or not (name == "LC_CTYPE" or name.startswith("PYTHON"))',
        'if not (name == "LC_CTYPE" or name.startswith("PYTHON"))',
        f"{_VARIABLES}test_a_locale_that_the_interpreter_has_set_for_itself_is_not_handed_on[C.UTF-8]",
    ),
    Mutant(
        "hooks and sessions inherit only those Python variables that the starter set",
        "fastpty/jail/inherited.py",
        'if name in at_start or not (name == "LC_CTYPE" or name.startswith("PYTHON"))',
        'if name in at_start or name != "LC_CTYPE"',
        f"{_VARIABLES}test_python_variables_that_the_starter_has_set_stay",
    ),
    Mutant(
        "a reload uses the environment of the start",
        "fastpty/configuration/reload_child.py",
        "loader.load(parse(argv), environ, is_reload=True)",
        "loader.load(parse(argv), is_reload=True)",
        f"{_VARIABLES}test_a_reload_reads_the_environment_that_the_router_was_started_with",
    ),
)

HOMES = (
    Mutant(
        "with uid, HOME is the account's",
        "fastpty/jail/steps.py",
        _TAKE_ACCOUNT,
        "",
        f"{_HOME}[--uid]",
    ),
    Mutant(
        "with immediate-uid, HOME is the account's",
        "fastpty/jail/steps.py",
        "        partial(_take_immediate_account, config),\n",
        "",
        f"{_HOME}[--immediate-uid]",
    ),
    Mutant(
        "hooks that run as root have root's HOME",
        "fastpty/jail/steps.py",
        '        *_hooks(config, "as-root"),\n' + _TAKE_ACCOUNT,
        _TAKE_ACCOUNT + '        *_hooks(config, "as-root"),\n',
        f"{_HOME}[--uid]",
    ),
    Mutant(
        "a HOME that the configuration sets wins over the account's",
        "fastpty/jail/inherited.py",
        "explicit = {name for name, _ in config.environment} | {",
        "explicit = {",
        f"{_VARIABLES}test_a_home_that_the_configuration_or_a_hook_sets_wins_over_the_account_s",
    ),
    Mutant(
        "a variable that a hook sets wins over the account's",
        "fastpty/hooks/actions.py",
        'return argument.partition("=")[0] if (self.kind, action) == ("hook", "putenv") else None',
        "return None",
        f"{_VARIABLES}test_a_home_that_the_configuration_or_a_hook_sets_wins_over_the_account_s",
    ),
    Mutant(
        "a uid without an account does not get root's HOME",
        "fastpty/access/accounts.py",
        'return {"HOME": "/", "USER": None, "LOGNAME": None, "SHELL": _NO_SHELL, "MAIL": None}',
        "return {}",
        f"{_VARIABLES}test_a_uid_without_an_account_has_the_root_directory_as_home_and_no_name",
    ),
    Mutant(
        "no library of a changed root is loaded to look up HOME",
        "fastpty/access/accounts.py",
        "        if not in_changed_root:\n",
        "        if True:\n",
        f"{_VARIABLES}test_no_library_of_a_changed_root_is_loaded_for_its_user_s_home",
    ),
    Mutant(
        "in a changed root, HOME is looked up in its own accounts",
        "fastpty/jail/steps.py",
        "inherited.set_account_variables(config.uid, config, config.changes_root)",
        "inherited.set_account_variables(0 if config.changes_root else config.uid, config, False)",
        f"{_VARIABLES}test_in_a_changed_root_the_home_is_that_of_the_account_there",
    ),
    Mutant(
        "the size of an account file of a changed root is limited",
        "fastpty/access/accounts.py",
        "            data = file.read(_FILE_BYTES_MOST + 1)\n",
        "            data = file.read()[:_FILE_BYTES_MOST]\n",
        f"{_VARIABLES}test_an_invalid_account_of_a_changed_root_is_refused",
    ),
    Mutant(
        "an account of a changed root with an impossible gid is refused",
        "fastpty/access/accounts.py",
        "    if not entries or int(entries[0][2]) > _ID_MOST:\n",
        "    if not entries:\n",
        f"{_VARIABLES}test_an_invalid_account_of_a_changed_root_is_refused",
    ),
)

PROCESS = (
    Mutant(
        "a session has the file limit that the router was given",
        "fastpty/spawn/child.pxd",
        "    setrlimit(RLIMIT_NOFILE, &plan.files)\n",
        "",
        f"{_ALL}[plain]",
    ),
    Mutant(
        "the hooks at the end have the file limit that the router was given",
        "fastpty/system/at_start.py",
        "        resource.setrlimit(resource.RLIMIT_NOFILE, FILES)\n",
        "        pass\n",
        f"{_DOORS}test_the_hooks_at_the_end_have_the_file_limit_that_the_router_was_given",
    ),
    Mutant(
        "no signal is blocked in a session",
        "fastpty/spawn/child.pxd",
        "    pthread_sigmask(SIG_SETMASK, &none, NULL)\n",
        "",
        f"{_ALL}[plain]",
    ),
    Mutant(
        "with uid, a session has no inheritable capability",
        "fastpty/jail/privileges.py",
        "        if not keep and any(linux.capget()):\n",
        "        if False:\n",
        f"{_ALL}[uid]",
    ),
)

LOGIN = (
    Mutant(
        "a session of another user has none of the router's capabilities",
        "fastpty/spawn/child.pxd",
        "    return 0 if account.uid == 0 else leave_capabilities()\n",
        "    return 0\n",
        f"{_DOORS}test_a_session_of_another_user_has_no_capability_though_its_router_keeps_some",
    ),
    Mutant(
        "a session ends if capabilities remain",
        "fastpty/spawn/login.pxd",
        "        if data[index] != 0:\n",
        "        if False:\n",
        "access/test_run_as.py::test_a_session_ends_with_a_message_if_the_router_s_rights_remain[capset]",
    ),
    Mutant(
        "the login uid is set",
        "fastpty/spawn/login.pxd",
        "    set_login_uid(uid)\n    if uid",
        "    if uid",
        f"{_DOORS}test_the_login_uid_is_set_if_the_kernel_has_one",
    ),
    Mutant(
        "a session of another user is not spared when memory is short",
        "fastpty/spawn/login.pxd",
        "        leave_memory_priority()\n",
        "        pass\n",
        f"{_DOORS}test_a_session_of_another_user_gets_no_better_oom_score_than_the_default",
    ),
    Mutant(
        "a session of another user is killed as early as its router when memory is short",
        "fastpty/spawn/login.pxd",
        "    if atoi(text) < 0:\n",
        "    if atoi(text) != 0:\n",
        f"{_DOORS}test_a_session_of_another_user_gets_no_better_oom_score_than_the_default",
    ),
    Mutant(
        "a session of another user is not scheduled as real-time",
        "fastpty/spawn/login.pxd",
        "        syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &ordinary)\n",
        "        pass\n",
        f"{_ALL}[peer]",
    ),
    Mutant(
        "a session of another user has no negative nice value",
        "fastpty/spawn/login.pxd",
        "        syscall(SYS_setpriority, PRIO_PROCESS, 0, 0)\n",
        "        pass\n",
        f"{_ALL}[peer]",
    ),
    Mutant(
        "a session of another user has no high I/O priority",
        "fastpty/spawn/login.pxd",
        "        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0)\n",
        "        pass\n",
        f"{_ALL}[peer]",
    ),
    Mutant(
        "a session of another user keeps a lower priority",
        "fastpty/spawn/login.pxd",
        "    if syscall(SYS_getpriority, PRIO_PROCESS, 0) > NICE_NONE:\n",
        "    if True:\n",
        f"{_DOORS}test_a_session_of_another_user_keeps_the_lower_priorities_that_its_router_has",
    ),
    Mutant(
        "the router writes only to files of a proc file system",
        "fastpty/spawn/login.pxd",
        "    if proc >= 0 and is_proc(proc):\n",
        "    if proc >= 0:\n",
        f"{_DOORS}test_files_that_are_not_on_a_proc_file_system_are_not_written_to",
    ),
)

BETWEEN_USERS = (
    Mutant(
        "a user cannot trace its session's first process before its program runs",
        "fastpty/spawn/child.pxd",
        "    return 0 if account.uid == 0 else leave_capabilities()\n",
        "    syscall(SYS_prctl, 4, 1, 0, 0, 0)   # PR_SET_DUMPABLE\n"
        "    return 0 if account.uid == 0 else leave_capabilities()\n",
        "sessions/test_between_users.py::test_a_user_can_stop_its_starting_process_but_not_look_into_it",
    ),
    Mutant(
        "a session of run-as peer runs as its client's user",
        "fastpty/sessions/program.py",
        "self._of_account(account_of(peer.uid))",
        "self._of_account(account_of(1))",
        "sessions/test_between_users.py::test_a_user_with_a_session_can_do_nothing_to_the_router_and_to_another_s_session",
    ),
)

INHERITED = (*ENVIRONMENT, *HOMES, *PROCESS, *LOGIN, *BETWEEN_USERS)
