"""Protections of the client's half of the negotiated extension, each taken out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_NEGOTIATES = "client/test_negotiation.py::"
_HELD = "client/test_held_input.py::"
_SESSIONS = "client/test_extension.py::"

_NEGOTIATION = (
    Mutant(
        "a WELCOME with another nonce is output",
        "fastpty/client/negotiation.py",
        "(*self._payloads, self._unnamed) if expected.startswith(payload)]\n",
        "(*self._payloads, self._unnamed) if expected[:8].startswith(payload[:8])]\n",
        _NEGOTIATES + "test_a_program_that_forges_a_welcome_gains_nothing",
    ),
    Mutant(
        "a WELCOME may come in pieces",
        "fastpty/client/negotiation.py",
        "        elif len(self.received) >= _DECIDED_BYTES:\n            self.is_welcome = expected",
        "        else:\n            self.is_welcome = len(self.received) >= _DECIDED_BYTES and expected",
        _NEGOTIATES + "test_a_welcome_that_comes_byte_by_byte_is_one",
    ),
    Mutant(
        "a WELCOME that any program can write is not accepted",
        "fastpty/client/negotiation.py",
        "            self.is_welcome = expected[0] in self._payloads\n",
        "            self.is_welcome = True\n",
        _NEGOTIATES + "test_a_welcome_without_the_name_is_an_error_that_names_the_option",
    ),
    Mutant(
        "a WELCOME for a client without a name is not shown as output",
        "fastpty/client/legacy.py",
        "        if self._greeting is not None and self._greeting.is_unnamed:\n",
        "        if False:\n",
        _NEGOTIATES + "test_a_welcome_without_the_name_is_an_error_that_names_the_option",
    ),
    Mutant(
        "what is no WELCOME is shown from its first byte",
        "fastpty/client/link.py",
        "        self.protocol.has_no_welcome()\n        self.early = bytes(greeting.received)\n",
        "        self.protocol.has_no_welcome()\n",
        _NEGOTIATES + "test_what_is_no_welcome_is_shown_as_it_is",
    ),
    Mutant(
        "a client whose name is refused connects without",
        "fastpty/net/address.py",
        "    except OSError:  # it is taken, or a security module forbids it\n        return\n",
        "    except OSError:\n        raise\n",
        _NEGOTIATES + "test_a_client_whose_name_is_taken_connects_without",
    ),
    Mutant(
        "input that a late router did not execute is sent again",
        "fastpty/client/connect.py",
        "            link.queue(self._late.kept)\n",
        "",
        _NEGOTIATES + "test_a_router_that_answers_late_loses_nothing",
    ),
    Mutant(
        "input that is not kept is no silent loss",
        "fastpty/client/legacy.py",
        "        self._check_held()\n        self._kept = None\n",
        "        self._check_held()\n",
        _NEGOTIATES + "test_more_input_than_is_kept_is_an_error_that_is_said",
    ),
    Mutant(
        "much input waits for a router that has not accepted",
        "fastpty/client/attach.py",
        "        if self._decide_by is None or is_not_accepted(self._link.sock):\n",
        "        if self._decide_by is None:\n",
        _NEGOTIATES + "test_much_input_waits_for_a_router_that_does_not_accept_yet",
    ),
    Mutant(
        "raw input that a late router would execute waits",
        "fastpty/client/legacy.py",
        "        self._starts = None if greeting is None or framed else StartFinder()\n",
        "        self._starts = None\n",
        _HELD + "test_raw_input_that_holds_a_start_is_not_sent_to_a_late_router",
    ),
    Mutant(
        "raw input waits also if the user calls the router raw",
        "fastpty/client/connect.py",
        "            return negotiation.Greeting([], is_ruled_out=True)\n",
        "            return None\n",
        _HELD + "test_a_router_that_speaks_the_extension_after_all_gets_no_start",
    ),
    Mutant(
        "raw input does not wait for ever if the user calls the router raw",
        "fastpty/client/legacy.py",
        "self._greeting is not None and self._greeting.is_ruled_out",
        "False",
        _HELD + "test_raw_input_goes_to_a_silent_router_that_the_user_calls_raw",
    ),
    Mutant(
        "raw input that has waited goes on",
        "fastpty/client/legacy.py",
        '        held, self._held = (self._held, b"") if self._greeting is None else (b"", self._held)\n',
        '        held, self._held = b"", b""\n',
        _HELD + "test_raw_input_that_holds_a_start_reaches_a_router_of_another_protocol",
    ),
    Mutant(
        "raw input that waits is not cut off silently",
        "fastpty/client/legacy.py",
        "        if self._held:\n            raise",
        "        if False:\n            raise",
        _HELD + "test_raw_input_that_holds_a_start_is_never_lost_silently",
    ),
    Mutant(
        "a START has no more items than a router takes",
        "fastpty/client/request.py",
        "    if len(pairs) > extension.ITEMS_MOST:\n",
        "    if False:\n",
        _HELD + "test_a_command_of_too_many_words_is_an_error_before_anything_is_sent",
    ),
    Mutant(
        "an option that an older router cannot fulfil is an error",
        "fastpty/client/connect.py",
        "        if need and self.session is None:\n",
        "        if False:\n",
        _NEGOTIATES + "test_an_older_router_is_named_where_an_option_needs_another",
    ),
)

_HOSTILE_ROUTERS = "client/test_hostile_router.py::"

_ENDINGS = (
    Mutant(
        "a connection that ends without a status is no success",
        "fastpty/client/session.py",
        "        if self.status is None:\n            raise Lost",
        "        if self.status is None:\n            return Status(bytes((1,)) + bytes(45))\n            raise Lost",
        _SESSIONS + "test_a_connection_that_ends_without_a_status_is_lost",
    ),
    Mutant(
        "missing output is said",
        "fastpty/client/session.py",
        "        if (status.output_bytes, status.error_bytes) != (self.output_bytes, self.error_bytes):\n",
        "        if False:\n",
        _SESSIONS + "test_output_that_the_router_counts_otherwise_is_an_error",
    ),
    Mutant(
        "output of background processes that may be missing is said",
        "fastpty/client/connect.py",
        "        if status.flags & extension.CUT:\n",
        "        if False:\n",
        _SESSIONS + "test_a_background_job_that_the_program_leaves_behind_does_not_change_the_exit_status",
    ),
    Mutant(
        "the status descriptor tells of cut output",
        "fastpty/client/report.py",
        "bool(status.flags & extension.CUT)",
        "False",
        _SESSIONS + "test_a_background_job_that_the_program_leaves_behind_does_not_change_the_exit_status",
    ),
    Mutant(
        "a notice of an older router is harmless on a terminal",
        "fastpty/errors.py",
        "        return printable(super().__str__())\n",
        "        return super().__str__()\n",
        _HOSTILE_ROUTERS + "test_a_notice_is_one_harmless_line_too",
    ),
    Mutant(
        "a refusal without end is cut",
        "fastpty/client/session.py",
        "printable(text[:_TEXT_MOST_BYTES].decode(",
        "printable(text.decode(",
        _SESSIONS + "test_a_refusal_without_end_is_one_short_line",
    ),
    Mutant(
        "a refusal is harmless on a terminal",
        "fastpty/client/session.py",
        "    return printable(text[:_TEXT_MOST_BYTES].decode(errors=",
        "    return (text[:_TEXT_MOST_BYTES].decode(errors=",
        "client/test_extension.py::test_remarks_of_the_router_go_to_standard_error",
    ),
    Mutant(
        "a program's last line is output in the extension",
        "fastpty/client/session.py",
        "    ends_with_notices = False\n",
        "    ends_with_notices = True\n",
        _SESSIONS + "test_a_last_line_like_a_notice_is_output",
    ),
    Mutant(
        "a status that is not known is no success",
        "fastpty/client/session.py",
        "        if self.status.code > _CODES_MOST.get(self.status.how, -1):\n",
        "        if False:\n",
        _SESSIONS + "test_a_status_that_the_router_does_not_know_is_no_success",
    ),
    Mutant(
        "a status that no program can have is no success",
        "fastpty/client/session.py",
        "{extension.EXITED: 255, extension.SIGNALLED: 127,",
        "{extension.EXITED: 65535, extension.SIGNALLED: 65535,",
        _SESSIONS + "test_a_status_that_no_program_can_have_is_no_success",
    ),
    Mutant(
        "a command that was not found has the status 127",
        "fastpty/client/session.py",
        "    if refusal.code != extension.EXECUTE:\n",
        "    if True:\n",
        _SESSIONS + "test_a_refusal_is_one_harmless_line_and_never_output",
    ),
    Mutant(
        "the status descriptor gets an error, too",
        "fastpty/client/connect.py",
        "    except (FastptyError, OSError, MemoryError) as error:\n        failure = error\n",
        "    except ZeroDivisionError as error:\n        failure = error\n",
        _SESSIONS + "test_the_status_descriptor_also_gets_an_error",
    ),
)

_FLOW = (
    Mutant(
        "no more input is sent than the router has room for",
        "fastpty/client/session.py",
        "            self._credit -= len(piece)\n",
        "",
        _SESSIONS + "test_no_more_input_is_sent_than_the_router_has_room_for",
    ),
    Mutant(
        "the end of the input follows all of it",
        "fastpty/client/session.py",
        "        if self._input_ends and not self._held and not self._input_ended:\n",
        "        if self._input_ends and not self._input_ended:\n",
        _SESSIONS + "test_no_more_input_is_sent_than_the_router_has_room_for",
    ),
    Mutant(
        "input before an interrupt is dropped",
        "fastpty/client/session.py",
        "        self._held.clear()\n        return frames(signum)\n",
        "        return frames(signum)\n",
        _SESSIONS + "test_an_interrupt_overtakes_and_drops_input_without_room",
    ),
    Mutant(
        "an interrupt with room is a key",
        "fastpty/client/link.py",
        "        if not (self.takes_input and self.protocol.held_bytes):\n",
        "        if not self.takes_input:\n",
        _SESSIONS + "test_an_interrupt_with_room_is_a_key",
    ),
    Mutant(
        "secrets of the local environment stay here",
        "fastpty/client/request.py",
        "        if name in _OFFERED or name.startswith(_OFFERED_PREFIX):\n",
        "        if True:\n",
        _SESSIONS + "test_the_request_holds_command_environment_directory_and_language",
    ),
)

_HOSTILE = (
    Mutant(
        "output before STARTED is a violation",
        "fastpty/client/session.py",
        "        if not self.has_started or self._output_ended:\n",
        "        if self._output_ended:\n",
        _HOSTILE_ROUTERS + "test_a_violation_is_one_line",
    ),
    Mutant(
        "an unknown odd number is a violation",
        "fastpty/client/session.py",
        "        elif number % 2 or number < extension.FIRST_NUMBER:\n",
        "        elif number < extension.FIRST_NUMBER:\n",
        _HOSTILE_ROUTERS + "test_a_violation_is_one_line",
    ),
    Mutant(
        "an unknown even number is ignored",
        "fastpty/client/session.py",
        "        elif number % 2 or number < extension.FIRST_NUMBER:\n",
        "        else:\n",
        _HOSTILE_ROUTERS + "test_an_even_number_that_is_not_known_is_ignored",
    ),
    Mutant(
        "a message without end is given up",
        "fastpty/wire/extension.py",
        "        if len(self._joined) > REQUEST_BYTES:\n",
        "        if False:\n",
        _HOSTILE_ROUTERS + "test_a_message_without_end_is_given_up",
    ),
    Mutant(
        "remarks without end are cut",
        "fastpty/client/session.py",
        "            self._notices_left -= 1\n",
        "",
        _HOSTILE_ROUTERS + "test_remarks_without_end_are_cut",
    ),
)

_INTERFACE = (
    Mutant(
        "importing fastpty loads nothing else",
        "fastpty/__init__.py",
        "\n\ndef __getattr__",
        "\nfrom fastpty.errors import SessionError\n\ndef __getattr__",
        "client/test_python_session.py::test_importing_fastpty_loads_nothing_else",
    ),
    Mutant(
        "the caller chooses the terminal's type",
        "fastpty/client/interface.py",
        'os.fsencode(term or "")',
        'b"xterm-256color"',
        "client/test_python_session.py::test_the_terminal_s_type_is_common_or_the_router_s",
    ),
    Mutant(
        "a session that is left is no success",
        "fastpty/client/interface.py",
        "            self._failure = error\n        except (OSError",
        "            self._status = Status(bytes((1,)) + bytes(45))\n        except (OSError",
        "client/test_python_session.py::test_leaving_hangs_up_and_the_status_is_not_known",
    ),
    Mutant(
        "a session closes what it opened",
        "fastpty/client/interface.py",
        "                os.close(self._wake_out)\n",
        "",
        "client/test_python_session.py::test_sessions_leave_no_descriptor_and_no_thread_behind",
    ),
)

_KEEP_ALIVE = "client/test_keep_alive.py::"

_LIFE = (
    Mutant(
        "a router that answers no PING is lost",
        "fastpty/client/keep_alive.py",
        "        if self._unanswered == _UNANSWERED_MOST:\n",
        "        if False:\n",
        _KEEP_ALIVE + "test_a_router_that_answers_no_ping_is_lost",
    ),
    Mutant(
        "any byte is a sign of life",
        "fastpty/client/link.py",
        "        if self.keep_alive is not None:\n            self.keep_alive.note_life()\n",
        "",
        _KEEP_ALIVE + "test_any_answer_is_a_sign_of_life",
    ),
    Mutant(
        "a client that does not read blames nobody",
        "fastpty/client/link.py",
        "        if not is_reading:\n            self.keep_alive.note_life()\n        elif",
        "        if",
        _KEEP_ALIVE + "test_a_client_that_does_not_read_blames_nobody",
    ),
    Mutant(
        "a session that breaks over TLS says why",
        "fastpty/client/tunnel.py",
        "isinstance(error, LostConnectionError) and error.why is None",
        "False",
        "gateways/test_tls_extension.py::test_a_session_that_breaks_says_why",
    ),
)

EXTENSION_CLIENT = (*_NEGOTIATION, *_ENDINGS, *_FLOW, *_HOSTILE, *_INTERFACE, *_LIFE)
