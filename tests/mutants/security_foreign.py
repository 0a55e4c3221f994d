"""Terminals and /proc in a root that somebody else controls."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TERMINALS = "jail/test_foreign_terminals.py::"
_PROC = "jail/test_proc.py::"

FOREIGN = (
    Mutant(
        "foreign terminals: the check of /dev has a deadline",
        "fastpty/jail/terminals.py",
        'child.ask("looking for /dev/ptmx", _find, _SECONDS)',
        "_find()",
        _TERMINALS + "test_a_root_whose_dev_never_answers_is_refused_at_the_start",
    ),
    Mutant(
        "foreign terminals: sessions open no path of the root",
        "fastpty/sessions/starter.py",
        "            terminals=config.terminals,\n",
        "            terminals=-1,\n",
        _TERMINALS + "test_a_dev_that_stops_answering_holds_up_no_other_session",
    ),
    Mutant(
        "foreign terminals: the worker does not wait for a program to run",
        "fastpty/sessions/starter.py",
        "            apart=config.changes_root,\n",
        "            apart=config.entered is not None,\n",
        _TERMINALS + "test_a_program_on_a_file_system_that_never_answers_holds_up_no_other_session",
    ),
    Mutant(
        "foreign terminals: only a ptmx is accepted at the start",
        "fastpty/jail/terminals.py",
        "    if not _is_ptmx(ptmx):\n",
        "    if False:\n",
        _TERMINALS + "test_a_ptmx_that_opens_no_terminal_of_this_root_is_refused",
    ),
    Mutant(
        "foreign terminals: no magic link leads to a ptmx",
        "fastpty/jail/terminals.py",
        '"ptmx", os.O_PATH, linux.RESOLVE_NO_MAGICLINKS, dev',
        '"ptmx", os.O_PATH, 0, dev',
        _TERMINALS + "test_a_ptmx_that_opens_no_terminal_of_this_root_is_refused",
    ),
    Mutant(
        "foreign terminals: /dev/pts and ptmx must be the same devpts",
        "fastpty/jail/terminals.py",
        "(is_in_devpts and not _are_in_one_file_system(devpts, ptmx))",
        "False",
        _TERMINALS + "test_a_ptmx_that_opens_no_terminal_of_this_root_is_refused",
    ),
    Mutant(
        "foreign terminals: a ptmx on a file system that may not answer is refused",
        "fastpty/jail/terminals.py",
        "    if linux.file_system_type(dev) not in _ANSWERING:\n",
        "    if False:\n",
        _TERMINALS + "test_a_ptmx_on_a_file_system_that_may_not_answer_is_refused",
    ),
    Mutant(
        "foreign terminals: only a ptmx is opened for a session",
        "fastpty/spawn/foreign.pxd",
        "S_ISCHR(status.st_mode) && status.st_rdev == makedev(5, 2)",
        "status.st_rdev != makedev(255, 255)",
        _TERMINALS + "test_a_file_that_replaces_ptmx_is_not_opened",
    ),
    Mutant(
        "foreign terminals: a file mounted over a ptmx is not opened",
        "fastpty/spawn/foreign.pxd",
        "    how.resolve = RESOLVE_NO_XDEV | ",
        "    how.resolve = ",
        _TERMINALS + "test_a_file_mounted_over_ptmx_is_not_opened",
    ),
    Mutant(
        "foreign terminals: a session warns if another devpts is mounted on /dev/pts",
        "fastpty/spawn/child.pxd",
        "    child_compare_devpts(plan)\n",
        "",
        _TERMINALS + "test_a_session_warns_when_another_devpts_was_mounted_on_dev_pts",
    ),
    Mutant(
        "id maps are written only into a proc file system",
        "fastpty/system/own_proc.py",
        "        if linux.file_system_type(proc) != _PROC_SUPER_MAGIC or os.fstat(proc).st_ino != _ROOT_INODE:\n",
        "        if False:\n",
        _PROC + "test_id_maps_are_written_into_a_proc_file_system_only",
    ),
    Mutant(
        "id maps are not written into a file that is mounted over them",
        "fastpty/system/own_proc.py",
        "        return linux.openat2(name, flags, _STRICTLY, own)\n",
        "        return os.open(name, flags | os.O_CLOEXEC, dir_fd=own)\n",
        _PROC + "test_id_maps_are_not_written_into_a_file_that_is_mounted_over_them",
    ),
    Mutant(
        "without /proc there is an error of one line",
        "fastpty/jail/subordinate.py",
        '    except OSError as error:\n        raise FastptyError(\n            f"a user namespace of root needs',
        '    except ValueError as error:\n        raise FastptyError(\n            f"a user namespace of root needs',
        _PROC + "test_an_option_that_needs_proc_says_so_in_one_line",
    ),
)
