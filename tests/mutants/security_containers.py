"""What keeps a hostile container, and its sessions, from the host."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_BOX = "test_containers.py::"
_ATTACK = "test_container_attacks.py::"

CONTAINERS = (
    Mutant(
        "containers: ids of the user namespace that is entered",
        "fastpty/join.py",
        "                privileges.become_inner_root(credentials)\n",
        "",
        _BOX + "test_nothing_has_ids_of_the_host_in_a_container_whose_ids_are_mapped",
    ),
    Mutant(
        "containers: ids of the user namespace before anything of the container can be met",
        "fastpty/join.py",
        "                privileges.become_inner_root(credentials)\n",
        "",
        _ATTACK + "test_root_of_a_container_cannot_trace_the_router_on_its_way_in",
    ),
    Mutant(
        "containers: the router is not dumpable when it enters one",
        "fastpty/privileges.py",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 0)\n    if linux.prctl(linux.PR_GET_DUMPABLE) != 0:\n",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 1)\n    if False:\n",
        _ATTACK + "test_root_of_a_container_cannot_trace_the_router_on_its_way_in",
    ),
    Mutant(
        "containers: a session cannot look at the router",
        "fastpty/privileges.py",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 0)\n    if linux.prctl(linux.PR_GET_DUMPABLE) != 0:\n",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 1)\n    if False:\n",
        _ATTACK + "test_a_session_in_a_container_cannot_look_at_the_router_nor_trace_it",
    ),
    Mutant(
        "containers: the interpreter is executed from what cannot be written",
        "fastpty/reexecute.py",
        "    if config.changes_root and _could_be_written():\n",
        "    if False:\n",
        _ATTACK + "test_a_hostile_image_gets_no_way_to_write_to_the_interpreter[mounts]",
    ),
    Mutant(
        "containers: the mounts that the interpreter is executed from are read-only",
        "fastpty/reexecute.py",
        "        linux.make_read_only(tree)\n",
        "        pass\n",
        _ATTACK + "test_a_hostile_image_gets_no_way_to_write_to_the_interpreter[mounts]",
    ),
    Mutant(
        "containers: without read-only mounts the interpreter is a copy in memory",
        "fastpty/reexecute.py",
        "        os.execve(_sealed_copy(interpreter), sys.orig_argv, _environment(notes))\n",
        "        os.execve(interpreter, sys.orig_argv, _environment(notes))\n",
        _ATTACK + "test_a_hostile_image_gets_no_way_to_write_to_the_interpreter[memory]",
    ),
    Mutant(
        "containers: the copy in memory is sealed",
        "fastpty/reexecute.py",
        "    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)\n",
        "",
        _ATTACK + "test_a_hostile_image_gets_no_way_to_write_to_the_interpreter[memory]",
    ),
    Mutant(
        "containers: all that is mapped is mapped through read-only mounts",
        "fastpty/reexecute.py",
        "        imports.stop(config)\n        if self.place is not None:\n            self.place.go_back()\n",
        "        if self.place is not None:\n            self.place.go_back()\n        import mmap, _lsprof\n",
        _ATTACK
        + "test_no_file_that_the_router_runs_or_has_mapped_can_be_written_to_where_the_root_is_somebody_else_s",
    ),
    Mutant(
        "containers: sessions have the ids and capabilities of the process that is joined",
        "fastpty/privileges.py",
        "    if joined is not None and config.uid is None:\n",
        "    if False:\n",
        _BOX + "test_a_session_of_setns_pid_has_the_ids_and_rights_of_the_process_that_it_joins",
    ),
    Mutant(
        "containers: the five sets of capabilities",
        "fastpty/privileges.py",
        "        _take(_capabilities(uid, config, joined))\n",
        "        pass\n",
        _BOX + "test_a_session_of_setns_pid_has_the_ids_and_rights_of_the_process_that_it_joins",
    ),
    Mutant(
        "containers: no_new_privs",
        "fastpty/privileges.py",
        "        if credentials.no_new_privs:\n",
        "        if False:\n",
        _BOX + "test_a_session_of_setns_pid_has_the_ids_and_rights_of_the_process_that_it_joins",
    ),
    Mutant(
        "containers: groups of the process that is joined",
        "fastpty/privileges.py",
        "        groups = () if credentials is None else credentials.groups\n",
        "        groups = os.getgroups()\n",
        _BOX + "test_a_session_of_setns_pid_has_the_ids_and_rights_of_the_process_that_it_joins",
    ),
    Mutant(
        "containers: a set-uid program gains nothing that the container lacks",
        "fastpty/privileges.py",
        "                linux.prctl(linux.PR_CAPBSET_DROP, number)\n        if credentials",
        "                pass\n        if credentials",
        _BOX + "test_a_set_uid_program_of_the_container_gains_no_capability_that_the_container_lacks",
    ),
    Mutant(
        "containers: control groups",
        "fastpty/sessions.py",
        "        self._joins = config.entered.cgroups if config.entered else ()\n",
        "        self._joins = ()\n",
        _BOX + "test_a_session_of_setns_pid_is_in_the_control_groups_of_the_process_that_it_joins",
    ),
    Mutant(
        "containers: sessions have the container's environment",
        "fastpty/config.py",
        "        if self.entered is None or self.entered.environment is None:\n",
        "        if True:\n",
        _BOX + "test_the_environment_directory_and_root_are_those_of_the_process_that_is_joined",
    ),
    Mutant(
        "containers: hooks inside do not have the host's environment",
        "fastpty/jail.py",
        "        _leave_environment(config)\n",
        "        pass\n",
        _BOX + "test_the_environment_directory_and_root_are_those_of_the_process_that_is_joined",
    ),
    Mutant(
        "containers: no environment of the host where no process is known",
        "fastpty/join.py",
        "environment=environment if is_seen else None)",
        "environment=environment if environment else None)",
        _BOX + "test_where_no_process_is_known_the_environment_is_a_clean_one",
    ),
    Mutant(
        "containers: a lost filter is said",
        "fastpty/join.py",
        "notes if credentials.has_filter else ()",
        "()",
        _BOX + "test_that_a_filter_of_system_calls_cannot_be_taken_over_is_said",
    ),
    Mutant(
        "containers: a process of the host is not joined",
        "fastpty/join.py",
        "        if not found:\n",
        "        if False:\n",
        _BOX + "test_what_is_no_process_of_a_container_is_not_joined[host]",
    ),
    Mutant(
        "containers: a zombie is not joined",
        "fastpty/target.py",
        '        if state in "ZX":\n',
        "        if False:\n",
        _BOX + "test_what_is_no_process_of_a_container_is_not_joined[zombie]",
    ),
    Mutant(
        "containers: a thread of the kernel is not joined",
        "fastpty/target.py",
        "        if int(fields[5]) & _KERNEL_THREAD:\n",
        "        if False:\n",
        _BOX + "test_what_is_no_process_of_a_container_is_not_joined[kernel]",
    ),
    Mutant(
        "containers: a process that has got the number of another is not joined",
        "fastpty/target.py",
        "        if select.select([self._pidfd], [], [], 0)[0]:\n",
        "        if False:\n",
        _BOX + "test_a_process_that_ends_while_it_is_looked_at_is_not_joined",
    ),
    Mutant(
        "containers: an environment is not waited for",
        "fastpty/target.py",
        "        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:\n",
        "        if not select.select([fd], [], [], 40)[0]:\n",
        _BOX + "test_an_environment_that_never_comes_is_not_waited_for",
    ),
    Mutant(
        "containers: names of a foreign environment",
        "fastpty/target.py",
        "        if equals and _NAME.fullmatch(name):\n",
        "        if equals:\n",
        _BOX + "test_names_and_values_of_a_foreign_environment_are_looked_at",
    ),
)
