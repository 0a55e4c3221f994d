"""What clients of a shared terminal may do, and that none delays the others."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_VIEWERS = "relay/test_shared_viewers.py::"

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
        _VIEWERS + "test_a_viewer_socket_alone_shows_a_terminal",
    ),
    Mutant(
        "a viewer socket alone has a terminal to show",
        "fastpty/listening/places.py",
        "_SHARED = frozenset({PTY, PTY_VIEWER})",
        "_SHARED = frozenset({PTY})",
        _VIEWERS + "test_a_viewer_socket_alone_shows_a_terminal",
    ),
    Mutant(
        "a viewer that has left ends",
        "fastpty/relay/shared_step.pxd",
        "        viewer_discard_step(loop, task)\n",
        "        pass\n",
        _VIEWERS + "test_a_viewer_that_leaves_ends_its_own_session_only",
    ),
)
