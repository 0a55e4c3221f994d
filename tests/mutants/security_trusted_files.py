"""Files and data of other users run no commands through the configuration."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TRUSTED_FILES = (
    Mutant(
        "another user's file cannot run commands",
        "fastpty/configuration/language/files.py",
        "    return Content(FORMATS[place.format](source), status, _doubt(status, {0, os.geteuid()}))\n",
        "    return Content(FORMATS[place.format](source), status, None)\n",
        "configuration/test_trusted_files.py::test_another_user_s_file_cannot_run_commands",
    ),
    Mutant(
        "a file that its group may write to cannot run commands",
        "fastpty/configuration/language/files.py",
        "if by_group or status.st_mode & stat.S_IWOTH:",
        "if status.st_mode & stat.S_IWOTH:",
        "configuration/test_trusted_files.py::test_a_file_that_others_can_write_to_cannot_run_commands",
    ),
    Mutant(
        "a file that everybody may write to cannot run commands",
        "fastpty/configuration/language/files.py",
        "if by_group or status.st_mode & stat.S_IWOTH:",
        "if by_group:",
        "configuration/test_trusted_files.py::test_a_file_that_others_can_write_to_cannot_run_commands",
    ),
    Mutant(
        "a file's owner and mode are read from its open descriptor",
        "fastpty/configuration/language/files.py",
        "os.fstat(descriptor)",
        "os.stat(place.path)",
        "configuration/test_trusted_files.py::test_swapping_in_a_trusted_file_while_another_is_read_gives_no_trust",
    ),
    Mutant(
        "another user's file cannot pass for an environment variable",
        "fastpty/configuration/language/files.py",
        'f"./{given}" if given.startswith("$") else given',
        "given",
        "configuration/test_trusted_files.py::test_another_user_s_file_cannot_pass_for_an_environment_variable",
    ),
    Mutant(
        "the content of a file and the output of a command are not expanded",
        "fastpty/configuration/language/expansion.py",
        "        return Text.data(text[:-1] if text.endswith",
        "        return Text.written(text[:-1] if text.endswith",
        "configuration/test_language.py::test_the_content_of_a_file_and_the_output_of_a_command_are_not_expanded",
    ),
    Mutant(
        "the lines that a loop reads cannot run commands",
        "fastpty/configuration/language/blocks.py",
        'Text.data(line.rstrip("\\r"))',
        'Text.written(line.rstrip("\\r"))',
        "configuration/test_trusted_files.py::test_the_items_of_a_loop_cannot_run_commands",
    ),
    Mutant(
        "a value remembers which of its parts are data",
        "fastpty/configuration/language/setting.py",
        "markup=text.markup if text.markup != text.whole else None)",
        "markup=None)",
        "configuration/test_trusted_files.py::test_the_items_of_a_loop_cannot_run_commands",
    ),
    Mutant(
        "the names that a loop finds cannot read files",
        "fastpty/configuration/language/blocks.py",
        "    return [Text.data(path) for path in paths or [pattern.whole]]\n",
        "    return [Text.written(path) for path in paths or [pattern.whole]]\n",
        "configuration/test_trusted_files.py::test_the_names_that_a_loop_finds_cannot_read_files",
    ),
    Mutant(
        "data cannot be part of a command",
        "fastpty/configuration/language/expansion.py",
        "            elif place.has_data or not _SCHEME.match(place.markup):\n",
        "            elif False:\n",
        "configuration/test_trusted_files.py::test_data_cannot_be_part_of_a_command",
    ),
    Mutant(
        "a reference whose name comes from data gives data",
        "fastpty/configuration/language/expansion.py",
        "        scheme = _SCHEME.match(place.whole)\n",
        "        scheme = _SCHEME.match(place.markup)\n",
        "configuration/test_trusted_files.py::test_data_cannot_be_part_of_a_command",
    ),
    Mutant(
        "values from another user's file run no commands in other files",
        "fastpty/configuration/language/loader.py",
        "        return setting.text.as_data() if self._doubt(setting) else setting.text\n",
        "        return setting.text\n",
        "configuration/test_trusted_files.py::test_values_from_another_user_s_file_run_no_commands_in_other_files",
    ),
    Mutant(
        "a setting that uses an untrusted value is untrusted, too",
        "fastpty/configuration/language/loader.py",
        "        return setting.text.as_data() if self._doubt(setting) else setting.text\n",
        '        return setting.text.as_data() if self._doubt(setting) else Text.written(setting.value or "")\n',
        "configuration/test_trusted_files.py::test_values_from_another_user_s_file_run_no_commands_in_other_files",
    ),
    Mutant(
        "the name of a directory cannot run commands",
        "fastpty/configuration/language/magic.py",
        "            parts.append(Text.outside(variables[name]))\n",
        "            parts.append(Text.written(variables[name]))\n",
        "configuration/test_trusted_files.py::test_the_name_of_a_directory_cannot_run_commands",
    ),
    Mutant(
        "another user's file cannot be included",
        "fastpty/configuration/language/files.py",
        "    if status.st_uid not in owners:\n",
        "    if False:\n",
        "configuration/test_trusted_files.py::test_another_user_s_file_cannot_be_included",
    ),
    Mutant(
        "a file that others may write to cannot be included",
        "fastpty/configuration/language/files.py",
        "    if doubt:\n",
        '    if doubt and "belongs" in doubt:\n',
        "configuration/test_trusted_files.py::test_a_file_that_others_can_write_to_cannot_be_included",
    ),
    Mutant(
        "another user's file can include only files of its owner",
        "fastpty/configuration/language/files.py",
        "{0, os.geteuid(), includer.st_uid}",
        "{0, os.geteuid(), includer.st_uid, status.st_uid if includer.st_uid else 0}",
        "configuration/test_trusted_files.py::test_a_named_file_of_another_user_causes_a_warning_and_may_include_its_owner_s_files",
    ),
    Mutant(
        "another user's file that the starter names causes a warning",
        "fastpty/configuration/language/loader.py",
        "        if path not in self._doubts:\n",
        "        if False:\n",
        "configuration/test_trusted_files.py::test_a_named_file_of_another_user_causes_a_warning_and_may_include_its_owner_s_files",
    ),
)
