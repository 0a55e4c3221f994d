"""Reading a configuration does not expand data, is bounded in time and memory, and refuses misspelt protections."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DATA = (
    Mutant(
        "the value of an environment variable is not expanded",
        "fastpty/configuration/language/expansion.py",
        "        return None if value is None else Text.outside(value)\n",
        "        return None if value is None else Text.written(value)\n",
        "configuration/test_config_data.py::test_the_value_of_a_variable_is_not_expanded",
    ),
    Mutant(
        "a value that a condition takes from a variable is not expanded",
        "fastpty/configuration/language/blocks.py",
        "    return None if value is None else Text.data(value)\n",
        "    return None if value is None else Text.written(value)\n",
        "configuration/test_config_data.py::test_the_value_of_a_variable_is_not_expanded",
    ),
    Mutant(
        "a variable with more than a plain word cannot be part of a command",
        "fastpty/configuration/language/text.py",
        "        return Text(text, _WORD * len(text)) if _PLAIN.fullmatch(text) else Text.data(text)\n",
        '        return Text.data(text) if "(" in text else Text.written(text)\n',
        "configuration/test_config_data.py::test_a_variable_with_more_than_a_plain_word_cannot_be_part_of_a_command",
    ),
    Mutant(
        "a variable cannot turn a file name into a command",
        "fastpty/configuration/language/expansion.py",
        "            elif place.has_data or not _SCHEME.match(place.markup):\n",
        "            elif place.has_data:\n",
        "configuration/test_config_data.py::test_a_plain_word_cannot_turn_a_file_name_into_a_command",
    ),
    Mutant(
        "a misspelt section stops the start",
        "fastpty/configuration/language/source.py",
        "            if meant := misspelt_section(name):\n",
        "            if meant := None:\n",
        "configuration/test_config_refused.py::test_a_misspelt_section_stops_the_start",
    ),
    Mutant(
        "the result of one pass of expansion is not expanded by the next",
        "fastpty/configuration/language/expansion.py",
        "    text = setting.text\n",
        '    text = Text.written(setting.value or "")\n',
        "configuration/test_config_data.py::test_nothing_from_outside_is_ever_expanded",
    ),
    Mutant(
        "the names of hosts, users and directories are not expanded",
        "fastpty/configuration/language/magic.py",
        "            parts.append(Text.outside(variables[name]))\n",
        "            parts.append(Text.written(variables[name]))\n",
        "configuration/test_config_data.py::test_nothing_from_outside_is_ever_expanded",
    ),
    Mutant(
        "the name of a directory is not taken for a pattern",
        "fastpty/configuration/language/blocks.py",
        "glob.glob(pattern.escaped(glob.escape))",
        "glob.glob(pattern.whole)",
        "configuration/test_config_data.py::test_the_name_of_a_directory_is_not_a_pattern",
    ),
    Mutant(
        "a value that the kernel cannot take is refused with file and line",
        "fastpty/configuration/language/loader.py",
        "    if flaw := setting.flaw:\n",
        "    if (flaw := setting.flaw) and False:\n",
        "configuration/test_config_data.py::test_a_name_or_value_that_the_kernel_cannot_take_is_refused_with_file_and_line",
    ),
    Mutant(
        "half a surrogate pair in JSON is refused",
        "fastpty/configuration/language/formats.py",
        "if isinstance(item, str)) > written:\n",
        "if isinstance(item, str)) < written:\n",
        "configuration/test_config_data.py::test_a_name_or_value_that_the_kernel_cannot_take_is_refused_with_file_and_line",
    ),
    Mutant(
        "many references to nothing are no error",
        "fastpty/configuration/language/expansion.py",
        "        if value is None:\n            level.add(here)\n",
        "        if value is None and budget.take_bytes(1 << 14) is None:\n            level.add(here)\n",
        "configuration/test_config_data.py::test_thousands_of_references_to_nothing_stay_as_they_are",
    ),
)

BOUNDS = (
    Mutant(
        "only regular files are read",
        "fastpty/configuration/language/budget.py",
        "    if not stat.S_ISREG(mode):\n",
        "    if False:\n",
        "configuration/test_config_budget.py::test_only_regular_files_are_read_and_opening_others_does_not_wait",
    ),
    Mutant(
        "a slow command is killed at its deadline, in a thread as well",
        "fastpty/configuration/language/budget.py",
        "        if not readable(descriptor, seconds=self.seconds_left()):\n",
        "        if not readable(descriptor):\n",
        "configuration/test_config_budget.py::test_a_slow_command_is_killed_in_a_thread_as_well",
    ),
    Mutant(
        "a killed command leaves no process behind",
        "fastpty/configuration/language/budget.py",
        "                os.killpg(process.pid, signal.SIGKILL)",
        "                process.kill()",
        "configuration/test_config_budget.py::test_a_slow_command_is_killed_with_all_its_processes",
    ),
    Mutant(
        "a command with endless output is killed",
        "fastpty/configuration/language/budget.py",
        "            parts.append(part)\n            left -= len(part)\n        if left <= 0:\n",
        "            parts = [part]\n        if left <= 0:\n",
        "configuration/test_config_budget.py::test_a_command_with_endless_output_is_killed",
    ),
    Mutant(
        "a computation ends at the deadline",
        "fastpty/configuration/language/budget.py",
        "signal.setitimer(signal.ITIMER_REAL, max(self.seconds_left(), 1e-6), _AGAIN_SECONDS)",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
        "configuration/test_config_budget.py::test_a_computation_ends_at_the_deadline",
    ),
    Mutant(
        "a timer of the caller keeps running",
        "fastpty/configuration/language/budget.py",
        "            if left:  # restore",
        "            if False:  # restore",
        "configuration/test_config_budget.py::test_a_timer_of_the_caller_keeps_running",
    ),
    Mutant(
        "files that include each other again and again are an error",
        "fastpty/configuration/language/budget.py",
        "        self.take_bytes(max(len(content), _LEAST_COST))\n",
        "        self.take_bytes(len(content))\n",
        "configuration/test_config_budget.py::test_files_that_read_each_other_twice_are_an_error",
    ),
    Mutant(
        "values that grow are counted together",
        "fastpty/configuration/language/expansion.py",
        "        budget.take_bytes(len(value))\n",
        "        budget.take_bytes(0)\n",
        "configuration/test_config_budget.py::test_values_that_grow_are_counted_together",
    ),
    Mutant(
        "a file of more than a mebibyte is refused",
        "fastpty/configuration/language/budget.py",
        "        if len(content) > SOURCE_BYTES:\n",
        "        if False:\n",
        "configuration/test_config_budget.py::test_a_file_of_more_than_a_mebibyte_is_refused",
    ),
    Mutant(
        "the number of settings is bounded, aliases included",
        "fastpty/configuration/language/budget.py",
        "        if self._settings < 0:\n",
        "        if self._settings < -1000000:\n",
        "configuration/test_config_budget.py::test_yaml_aliases_count_as_settings",
    ),
    Mutant(
        "a number of a megabyte is refused in a short line",
        "fastpty/system/names.py",
        '    return value if len(value) <= _SHOWN_MOST else f"{value[:_SHOWN_MOST]}…"\n',
        "    return value\n",
        "configuration/test_config_budget.py::test_a_number_of_a_megabyte_is_refused_in_a_short_line",
    ),
)

MISTAKES = (
    Mutant(
        "a misspelt key stops the start",
        "fastpty/configuration/build.py",
        "    if (meant or setting.is_ours or",
        "    if (setting.is_ours or",
        "configuration/test_config_refused.py::test_a_misspelt_key_stops_the_start_even_in_a_uwsgi_section",
    ),
    Mutant(
        "a misspelt environment variable stops the start",
        "fastpty/configuration/language/loader.py",
        " or (misspelt(name) and not setting.is_used)\n",
        "\n",
        "configuration/test_config_refused.py::test_a_misspelt_variable_stops_the_start",
    ),
    Mutant(
        "an unknown key outside of uWSGI's sections is an error",
        "fastpty/configuration/build.py",
        "    if (meant or setting.is_ours or",
        "    if (meant or",
        "configuration/test_config_refused.py::test_every_unknown_key_is_an_error_outside_of_uwsgi_s_sections",
    ),
    Mutant(
        "--check with --stop stops nothing",
        "fastpty/configuration/command_line.py",
        "    if unused:\n",
        "    if False:\n",
        "configuration/test_config_refused.py::test_an_option_beside_stop_is_refused_and_nothing_is_stopped",
    ),
    Mutant(
        "--check refuses what a start would refuse",
        "fastpty/configuration/command_line.py",
        "        return preflight(config)\n",
        "        return []\n",
        "configuration/test_config_refused.py::test_check_refuses_what_a_start_would_refuse",
    ),
    Mutant(
        "--check reports missing rights",
        "fastpty/jail/preflight.py",
        "    steps.check(config)\n",
        "",
        "configuration/test_config_refused.py::test_check_by_an_ordinary_user_sees_missing_rights",
    ),
    Mutant(
        "--check reads the TLS files",
        "fastpty/jail/preflight.py",
        "    context_of(config.tls_identity, server=True)\n",
        "",
        "configuration/test_config_refused.py::test_check_reads_the_files_of_tls",
    ),
    Mutant(
        "a mode has three or four digits",
        "fastpty/system/names.py",
        "    if not (3 <= len(value) <= 4",
        "    if not (1 <= len(value) <= 4",
        "configuration/test_options.py::test_a_bad_value_is_refused_with_a_reason",
    ),
    Mutant(
        "chmod-socket = 1 is 0666 as in uWSGI",
        "fastpty/configuration/values.py",
        '    return 0o666 if value == "1" else mode(value)\n',
        "    return mode(value)\n",
        "configuration/test_options.py::test_a_good_value_is_read",
    ),
    Mutant(
        "harakiri does not kill healthy workers",
        "fastpty/configuration/values.py",
        "    if number < _HARAKIRI_LEAST:\n",
        "    if number <= 0:\n",
        "configuration/test_options.py::test_a_bad_value_is_refused_with_a_reason",
    ),
)

READING = (
    Mutant(
        "an XML file declares no entities",
        "fastpty/configuration/language/xml.py",
        "        self._parser.StartDoctypeDeclHandler = ",
        "        _ = ",
        "configuration/test_xml.py::test_a_document_type_is_refused",
    ),
    Mutant(
        "an ignored section is named in a warning",
        "fastpty/configuration/language/source.py",
        "        if OURS in found and UWSGIS in found:\n",
        "        if False:\n",
        "configuration/test_plain_names.py::test_a_fastpty_section_wins_and_a_warning_names_the_ignored_uwsgi_section",
    ),
    Mutant(
        "a plain name that is also an option of uWSGI keeps uWSGI's meaning in files for uWSGI",
        "fastpty/configuration/options.py",
        "    return None if is_uwsgis and name in MEANT_FOR_UWSGI else BY_NAME.get(name)\n",
        "    return BY_NAME.get(name)\n",
        "configuration/test_plain_names.py::"
        "test_a_name_that_uwsgi_has_for_something_else_stays_uwsgi_s_where_uwsgi_reads_it",
    ),
    Mutant(
        "a second SOCKET argument is an error",
        "fastpty/configuration/command_line.py",
        "    if len(sockets) > 1:\n",
        "    if False:\n",
        "configuration/test_command_line.py::test_a_second_socket_is_an_error_that_says_what_to_write",
    ),
    Mutant(
        "a file is not taken for a socket",
        "fastpty/configuration/command_line.py",
        "    if format_ is None and (argument.endswith",
        "    if False and (argument.endswith",
        "configuration/test_command_line.py::test_a_file_without_a_known_ending_is_not_taken_for_a_socket",
    ),
    Mutant(
        "a command that cannot be executed stops the start",
        "fastpty/router.py",
        "    config = program.check(config)\n    if prepared.cgroups is not None:\n",
        "    if prepared.cgroups is not None:\n",
        "sessions/test_command_lookup.py::test_a_command_that_cannot_be_executed_stops_the_start_and_the_check",
    ),
    Mutant(
        "a command that cannot be executed is refused at a reload",
        "fastpty/router.py",
        "    program.check(config)\n    return config\n",
        "    return config\n",
        "sessions/test_command_lookup.py::test_a_reload_to_a_command_that_cannot_be_executed_is_refused",
    ),
    Mutant(
        "--check reports a command that cannot be executed",
        "fastpty/jail/preflight.py",
        "    return _check_commands(config)\n",
        "    return []\n",
        "sessions/test_command_lookup.py::test_a_command_that_cannot_be_executed_stops_the_start_and_the_check",
    ),
)

CONFIG = (*DATA, *BOUNDS, *MISTAKES, *READING)
