"""Where both commands begin, and `python -m fastpty`, which is the `fastpty` command.

^C ends them without a traceback, also while their modules are being loaded.
"""

import sys

from fastpty import __version__, end_quietly_on_interrupt


def client() -> int:
    """Runs the `fastpty` command; returns its exit status."""
    end_quietly_on_interrupt()
    from fastpty.cli import main

    return main()


def router() -> int:
    """Runs the `fastpty-router` command; returns its exit status."""
    end_quietly_on_interrupt()
    if sys.argv[1:] == ["--version"]:  # without loading all of the router, which takes ten times as long
        return _show_router_version()
    from fastpty.router import main

    return main()


def _show_router_version() -> int:
    from fastpty.errors import FastptyError
    from fastpty.system.standard_descriptors import write_error, write_output

    try:
        write_output(f"fastpty-router {__version__}\n")
    except FastptyError as error:
        write_error(f"fastpty-router: {error}")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(client())
