"""What clients of a shared terminal may do, and that none delays the others."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_VIEWERS = "relay/test_shared_viewers.py::"
_WINDOW = "relay/test_shared_window.py::"

SHARED = (
    Mutant(
        "a viewer cannot type",
        "fastpty/relay/shared_step.pxd",
        "    elif task == &task.session.input and task.session.is_read_only:\n",
        "    elif False:\n",
        _VIEWERS + "test_a_viewer_sees_the_output_and_can_neither_type_nor_resize_nor_signal",
    ),
    Mutant(
        "what a viewer sent reaches no later program",
        "fastpty/relay/shared_step.pxd",
        "            return\n        channel_drop(channel, &loop.pool)\n",
        "            return\n",
        _VIEWERS + "test_a_viewer_s_flood_takes_no_room_from_those_who_type",
    ),
    Mutant(
        "a client of the viewer socket is a viewer",
        "fastpty/sessions/handler.py",
        "return VIEW if place.protocol == PTY_VIEWER else JOIN",
        "return JOIN",
        _VIEWERS + "test_a_viewer_sees_the_output_and_can_neither_type_nor_resize_nor_signal",
    ),
    Mutant(
        "a viewer socket alone has a terminal to show",
        "fastpty/listening/places.py",
        "_SHARED = frozenset({PTY, PTY_UWSGI, PTY_VIEWER})",
        "_SHARED = frozenset({PTY, PTY_UWSGI})",
        _VIEWERS + "test_a_viewer_socket_alone_shows_a_terminal",
    ),
    Mutant(
        "what a viewer sends is read, so that it does not wait",
        "fastpty/relay/shared_step.pxd",
        "        viewer_discard_step(loop, task)\n",
        "        pass\n",
        _VIEWERS + "test_a_viewer_s_flood_takes_no_room_from_those_who_type",
    ),
    Mutant(
        "the terminal has the smallest of its clients' windows",
        "fastpty/relay/shared_size.pxd",
        "    return edge if least == 0 or 0 < edge < least else least\n",
        "    return edge if 0 < edge else least\n",
        _WINDOW + "test_the_terminal_has_the_fewest_rows_and_columns_of_its_clients",
    ),
    Mutant(
        "a fixed window stays",
        "fastpty/relay/shared_size.pxd",
        "    if shared.is_fixed:\n",
        "    if False:\n",
        _WINDOW + "test_a_fixed_size_stays",
    ),
    Mutant(
        "a signal of a client that types reaches the program",
        "fastpty/relay/shared_size.pxd",
        "        terminal_signal(&session.shared.program.terminal, number)\n",
        "        pass\n",
        _WINDOW + "test_a_signal_reaches_a_program_that_does_not_read",
    ),
    Mutant(
        "a client of the uwsgi socket speaks the uwsgi protocol",
        "fastpty/supervision/worker.py",
        "framed=place.protocol in (UWSGI, PTY_UWSGI)",
        "framed=place.protocol == UWSGI",
        _WINDOW + "test_clients_of_all_protocols_type_on_one_terminal",
    ),
    Mutant(
        "a client whose window is unknown does not count",
        "fastpty/relay/shared_size.pxd",
        "    return edge if least == 0 or 0 < edge < least else least\n",
        "    return edge if least == 0 or edge < least else least\n",
        _WINDOW + "test_a_client_that_sends_no_size_changes_none",
    ),
    Mutant(
        "the window of a client whose connection fails does not count",
        "fastpty/relay/shared.pxd",
        "        shared.viewers = session.next_viewer\n    shared_fit(shared)\n",
        "        shared.viewers = session.next_viewer\n",
        _WINDOW + "test_the_window_grows_when_the_connection_of_a_client_fails",
    ),
    Mutant(
        "the window of a client that has left does not count while its input waits",
        "fastpty/relay/shared_step.pxd",
        "    window_forget(session)\n",
        "",
        _WINDOW + "test_the_window_grows_though_the_last_input_of_the_client_that_left_waits",
    ),
    Mutant(
        "the next program starts with the present window",
        "fastpty/_relay.pyx",
        "        cdef winsize size = shared_size(self.shared)\n",
        "        cdef winsize size = self.shared.usual_size\n",
        _WINDOW + "test_the_next_program_starts_with_the_window_of_the_clients",
    ),
    Mutant(
        "a signal does not wait behind the input of other clients",
        "fastpty/relay/shared_step.pxd",
        "            queue_push(&loop.bulk if channel_has_frames(channel) else &shared.waiting, task)\n",
        "            queue_push(&shared.waiting, task)\n",
        _WINDOW + "test_a_signal_reaches_a_program_that_does_not_read",
    ),
    Mutant(
        "a signal does not wait behind the input of its own client",
        "fastpty/relay/shared_step.pxd",
        "    if channel_holds(channel) and not channel.writable and not channel_has_frames(channel):\n        # To",
        "    if channel_holds(channel) and not channel.writable:\n        # To",
        _WINDOW + "test_a_signal_reaches_a_program_that_does_not_read",
    ),
    Mutant(
        "frames that are dropped are parsed",
        "fastpty/relay/shared_size.pxd",
        "    while buffer != NULL and buffer.parsed < buffer.filled:\n",
        "    while False:\n",
        _WINDOW + "test_frames_that_are_dropped_with_a_program_are_understood",
    ),
    Mutant(
        "a window size in a dropped frame counts",
        "fastpty/relay/shared_size.pxd",
        "        if frame.kind == FRAME_ROWS:\n",
        "        if False:\n",
        _WINDOW + "test_frames_that_are_dropped_with_a_program_are_understood",
    ),
)
