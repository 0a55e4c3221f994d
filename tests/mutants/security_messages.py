"""No message and no line of the log carries an escape sequence."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MESSAGES = (
    Mutant(
        "no escape sequence reaches the log raw",
        "fastpty/log.py",
        "escaped(record.message())",
        "record.message()",
        "listening/test_socket_attacks.py::test_no_escape_sequence_reaches_the_log_raw",
    ),
    Mutant(
        "no line of the log can be forged",
        "fastpty/logger.py",
        'is_control = one < " " or',
        'is_control = "\\n" != one < " " or',
        "listening/test_socket_attacks.py::test_no_escape_sequence_reaches_the_log_raw",
    ),
    Mutant(
        "an error message shows no escape sequence",
        "fastpty/errors.py",
        "        return printable(super().__str__())\n",
        "        return super().__str__()\n",
        "listening/test_socket_attacks.py::test_an_error_about_a_hostile_name_shows_no_escape_sequence",
    ),
    Mutant(
        "a warning shows no escape sequence",
        "fastpty/errors.py",
        '    return "".join(c if c.isprintable() else _escaped(c) for c in text)\n',
        "    return text\n",
        "listening/test_socket_attacks.py::test_a_warning_shows_no_escape_sequence",
    ),
    Mutant(
        "--check shows no escape sequence",
        "fastpty/configuration/command_line.py",
        'f"{printable(line)}\\n" for',
        'f"{line}\\n" for',
        "configuration/test_check.py::test_the_output_of_check_and_show_config_is_safe_on_a_terminal",
    ),
)
