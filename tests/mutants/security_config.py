"""What reading a configuration must not do: expand data, wait, grow without measure, ignore a misspelt protection."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DATA = (
    Mutant(
        "what a variable of the environment holds is not expanded",
        "fastpty/configuration/language/expansion.py",
        "        return None if value is None else Text.outside(value)\n",
        "        return None if value is None else Text.written(value)\n",
        "configuration/test_config_data.py::test_what_a_variable_holds_is_not_expanded",
    ),
    Mutant(
        "what a condition found in a variable is not expanded",
        "fastpty/configuration/language/blocks.py",
        "    return None if value is None else Text.data(value)\n",
        "    return None if value is None else Text.written(value)\n",
        "configuration/test_config_data.py::test_what_a_variable_holds_is_not_expanded",
    ),
    Mutant(
        "a variable that is more than a word is no part of a command",
        "fastpty/configuration/language/text.py",
        "        return Text(text, _WORD * len(text)) if _PLAIN.fullmatch(text) else Text.data(text)\n",
        '        return Text.data(text) if "(" in text else Text.written(text)\n',
        "configuration/test_config_data.py::test_a_variable_that_is_more_than_a_word_is_no_part_of_a_command",
    ),
    Mutant(
        "no variable makes a command of what is a file's name without it",
        "fastpty/configuration/language/expansion.py",
        "            elif place.has_data or not _SCHEME.match(place.markup):\n",
        "            elif place.has_data:\n",
        "configuration/test_config_data.py::test_a_plain_word_makes_no_command_of_a_file_s_name",
    ),
    Mutant(
        "a misspelt section is no start",
        "fastpty/configuration/language/formats.py",
        "    if meant := misspelt_section(section):\n",
        "    if meant := None:\n",
        "configuration/test_config_refused.py::test_a_misspelt_section_is_no_start",
    ),
    Mutant(
        "what one pass has brought the next does not expand",
        "fastpty/configuration/language/expansion.py",
        "    text = setting.text\n",
        '    text = Text.written(setting.value or "")\n',
        "configuration/test_config_data.py::test_nothing_from_outside_is_ever_expanded",
    ),
    Mutant(
        "nothing of hosts, users and directories is expanded",
        "fastpty/configuration/language/magic.py",
        "            parts.append(Text.outside(variables[name]))\n",
        "            parts.append(Text.written(variables[name]))\n",
        "configuration/test_config_data.py::test_nothing_from_outside_is_ever_expanded",
    ),
    Mutant(
        "the name of a directory is no pattern",
        "fastpty/configuration/language/blocks.py",
        "glob.glob(pattern.escaped(glob.escape))",
        "glob.glob(pattern.whole)",
        "configuration/test_config_data.py::test_a_directory_s_name_is_no_pattern",
    ),
    Mutant(
        "what cannot be given to the kernel is refused with file and line",
        "fastpty/configuration/language/loader.py",
        "    if flaw := setting.flaw:\n",
        "    if (flaw := setting.flaw) and False:\n",
        "configuration/test_config_data.py::test_what_no_command_could_be_given_is_refused_with_file_and_line",
    ),
    Mutant(
        "half a surrogate pair in JSON is refused",
        "fastpty/configuration/language/formats.py",
        "if isinstance(item, str)) > written:\n",
        "if isinstance(item, str)) < written:\n",
        "configuration/test_config_data.py::test_what_no_command_could_be_given_is_refused_with_file_and_line",
    ),
    Mutant(
        "many references that name nothing are no error",
        "fastpty/configuration/language/expansion.py",
        "        if value is None:\n            level.add(here)\n",
        "        if value is None and budget.take_bytes(1 << 14) is None:\n            level.add(here)\n",
        "configuration/test_config_data.py::test_more_than_a_thousand_references_that_name_nothing_stay_as_they_are",
    ),
)

BOUNDS = (
    Mutant(
        "only regular files are read",
        "fastpty/configuration/language/budget.py",
        "    if not stat.S_ISREG(mode):\n",
        "    if False:\n",
        "configuration/test_config_budget.py::test_what_is_no_regular_file_is_refused_and_not_waited_for",
    ),
    Mutant(
        "a slow command is ended in time, in a thread as well",
        "fastpty/configuration/language/budget.py",
        "        if not select.select([descriptor], [], [], self.seconds_left())[0]:\n",
        "        if not select.select([descriptor], [], [])[0]:\n",
        "configuration/test_config_budget.py::test_a_slow_command_is_ended_in_a_thread_as_well",
    ),
    Mutant(
        "a command that was ended leaves nothing behind",
        "fastpty/configuration/language/budget.py",
        "                os.killpg(process.pid, signal.SIGKILL)",
        "                process.kill()",
        "configuration/test_config_budget.py::test_a_slow_command_is_ended_with_all_that_it_started",
    ),
    Mutant(
        "a command that writes without end is ended",
        "fastpty/configuration/language/budget.py",
        "            parts.append(part)\n            left -= len(part)\n        if left <= 0:\n",
        "            parts = [part]\n        if left <= 0:\n",
        "configuration/test_config_budget.py::test_a_command_that_writes_without_end_is_ended",
    ),
    Mutant(
        "what computes for too long is ended",
        "fastpty/configuration/language/budget.py",
        "signal.setitimer(signal.ITIMER_REAL, max(self.seconds_left(), 1e-6), _AGAIN_SECONDS)",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
        "configuration/test_config_budget.py::test_what_computes_for_too_long_is_ended",
    ),
    Mutant(
        "somebody else's timer goes on",
        "fastpty/configuration/language/budget.py",
        "            if left:  # somebody",
        "            if False:  # somebody",
        "configuration/test_config_budget.py::test_a_timer_of_somebody_else_goes_on",
    ),
    Mutant(
        "files that read each other again and again come to an end",
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
        "one file is no more than a mebibyte",
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
        "configuration/test_config_budget.py::test_aliases_of_yaml_are_settings_that_count",
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
        "a misspelt key is no start",
        "fastpty/configuration/build.py",
        "    if (meant or setting.is_ours or",
        "    if (setting.is_ours or",
        "configuration/test_config_refused.py::test_a_misspelt_key_is_no_start_even_in_a_section_of_uwsgi",
    ),
    Mutant(
        "a misspelt variable is no start",
        "fastpty/configuration/language/loader.py",
        " or (misspelt(name) and not setting.is_used)\n",
        "\n",
        "configuration/test_config_refused.py::test_a_misspelt_variable_is_no_start",
    ),
    Mutant(
        "an unknown key in a place of our own is an error",
        "fastpty/configuration/build.py",
        "    if (meant or setting.is_ours or",
        "    if (meant or",
        "configuration/test_config_refused.py::test_every_unknown_key_is_an_error_where_uwsgi_reads_nothing",
    ),
    Mutant(
        "--check with --stop stops nothing",
        "fastpty/configuration/command_line.py",
        "    if unused:\n",
        "    if False:\n",
        "configuration/test_config_refused.py::test_what_stands_beside_stop_is_refused_and_nothing_is_stopped",
    ),
    Mutant(
        "--check refuses what a start would refuse",
        "fastpty/configuration/command_line.py",
        "                preflight(config)\n",
        "                pass\n",
        "configuration/test_config_refused.py::test_check_refuses_what_a_start_would_refuse",
    ),
    Mutant(
        "--check sees which rights are missing",
        "fastpty/jail/preflight.py",
        "    steps.check(config)\n",
        "",
        "configuration/test_config_refused.py::test_check_of_an_ordinary_user_sees_which_rights_are_missing",
    ),
    Mutant(
        "--check reads the files of TLS",
        "fastpty/jail/preflight.py",
        "    context_of(config.tls_identity, server=True)\n",
        "",
        "configuration/test_config_refused.py::test_check_reads_the_files_of_tls",
    ),
    Mutant(
        "a mode has three or four digits",
        "fastpty/system/names.py",
        '    if not (re.fullmatch("[0-7]{3,4}", value)',
        '    if not (re.fullmatch("[0-7]{1,4}", value)',
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

CONFIG = (*DATA, *BOUNDS, *MISTAKES)
