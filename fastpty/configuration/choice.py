"""Decides what clients may choose for their sessions (`client-command`)."""

from __future__ import annotations

import re

from fastpty.configuration.config import Config
from fastpty.system.records import dataclass

ORDINARY_SHELL = re.compile(
    "/(usr/(local/)?)?bin/(sh|ash|bash|csh|dash|fish|ksh|ksh93|lksh|mksh|pdksh|tcsh|yash|zsh)"
)
"""Shells that run any command. /etc/shells also lists others: rbash, tmux, git-shell, an operator's menu."""


@dataclass(frozen=True)
class Choice:
    """commands: clients may choose command and directory. variables: they may set any variable. why: for --check."""

    commands: bool
    variables: bool
    why: str | None


def choice(config: Config) -> Choice:
    """Returns what clients may choose. `why` is None if client-command says yes or no."""
    if config.client_command != "auto":
        allows = config.client_command == "yes"
        return Choice(allows, allows, None)
    command = config.given_command
    if command is not None and not ORDINARY_SHELL.fullmatch(command):
        return Choice(False, False, "clients may not choose a command: command is not an ordinary shell")
    why = "command is not set" if command is None else "command is an ordinary shell"
    # A restricted shell, or a login shell whose profile runs one command, trusts its environment: with BASH_ENV or
    # LD_PRELOAD a client could run anything. sshd(8), too, takes only what AcceptEnv names.
    if config.run_as == "peer":
        return Choice(True, False, f"clients may choose a command, and variables that accept-env names: {why}")
    return Choice(True, True, f"clients may choose a command: {why}")
