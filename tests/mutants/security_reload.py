"""What a reload may change, and what it may read."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_REFUSED = "        raise FastptyError(f\"a reload cannot change {', '.join(changed)}: restart the router\")\n"

RELOAD = (
    Mutant(
        "a reload cannot change options that confine sessions",
        "fastpty/configuration/reload_child.py",
        _REFUSED,
        "        pass\n",
        "supervision/test_reload_confines.py::test_a_reload_cannot_change_options_that_confine",
    ),
    Mutant(
        "a reload cannot turn run-as peer off",
        "fastpty/configuration/reload_child.py",
        _REFUSED,
        "        wanted = replace(wanted, uid=present.uid)\n",
        "supervision/test_reload_confines.py::test_a_reload_cannot_drop_run_as",
    ),
    Mutant(
        "a reload does not turn a TLS address into plain TCP",
        "fastpty/configuration/options.py",
        'authorities in FILE (PEM).",\n           metavar="FILE", own=True, on_reload=Reload.REFUSE)',
        'authorities in FILE (PEM).",\n           metavar="FILE", own=True)',
        "supervision/test_reload_confines.py::test_a_reload_does_not_turn_tls_into_plain_tcp",
    ),
    Mutant(
        "a reload does not add an inherited plain TCP socket to a router with TLS",
        "fastpty/listening/places.py",
        "address.TcpAddress | address.FdAddress",
        "address.TcpAddress",
        "supervision/test_reload_confines.py::test_a_reload_adds_no_plain_tcp_address_beside_tls",
    ),
    Mutant(
        "a reload refuses what a start refuses",
        "fastpty/configuration/reload_child.py",
        ", *check(effective)]",
        "]",
        "supervision/test_reload_confines.py::test_a_reload_refuses_what_a_start_refuses",
    ),
    Mutant(
        "a reload applies the configured mode and owner to a socket file that stays",
        "fastpty/configuration/reload_child.py",
        "        if changed and isinstance(",
        "        if False and isinstance(",
        "supervision/test_reload_confines.py::test_a_reload_applies_the_configured_mode_to_a_socket_file_that_stays",
    ),
    Mutant(
        "unchanged hooks do not prevent a reload",
        "fastpty/hooks/actions.py",
        "    run: Run = field(compare=False)",
        "    run: Run = field()",
        "supervision/test_reload_confines.py::test_unchanged_hooks_do_not_prevent_a_reload",
    ),
    Mutant(
        "a reload reads no file of a foreign root",
        "fastpty/configuration/reload.py",
        "        if present.changes_root:",
        "        if False:",
        "supervision/test_reload_confines.py::test_a_reload_reads_no_file_in_another_root",
    ),
)
