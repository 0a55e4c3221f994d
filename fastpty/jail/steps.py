"""The steps into the jail: what a router does between reading its settings and accepting clients.

The order is that of uWSGI 2.0.21, as measured, except that sockets are bound before the jail is entered. uWSGI binds a
router's sockets inside. No step can be undone. The process must have one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fastpty.configuration.checks import check_user_namespace
from fastpty.configuration.config import DEFAULT_PATH, Config
from fastpty.configuration.entered import Entered
from fastpty.errors import FastptyError
from fastpty.hooks import at_exit
from fastpty.jail import imports, inherited, pid_namespace, privileges, subordinate
from fastpty.jail.subordinate import OwnIds
from fastpty.log import logger
from fastpty.service import process_name
from fastpty.system import foreign_root, linux, signals
from fastpty.system.records import dataclass, field, replace
from fastpty.system.user_namespace import Witness

# A step returns True if the remaining steps must run in a child, which enters a new pid namespace.
Step = Callable[[], bool | None]


def prepare(config: Config) -> None:
    """Runs the steps before the sockets are bound. Raises FastptyError, also if `run_inside` would lack rights."""
    check(config)
    imports.prepare(config)
    steps: list[Step] = [
        inherited.remove_own_variables,
        partial(_take_immediate_account, config),
        partial(privileges.become_immediately, config),
        partial(_set_umask, config),
        partial(_set_environment, config),
        *_hooks(config, "asap"),
    ]
    for step in steps:
        with signals.interruptible():
            step()


def run_inside(config: Config, work: Callable[[Config], None]) -> int:
    """Enters the jail, calls `work` there, runs the hooks for the end, and returns the exit status.

    `work` gets the config with the environment as the hooks left it. In a new pid namespace, `work` runs in a child,
    and this process waits for it. Raises FastptyError at the first step that fails or cannot be verified. Then earlier
    steps have taken effect, and the process should end.
    """
    if config.changes_root:
        imports.stop(config)
    progress = _Progress(config)
    return _run_steps(_steps(progress), progress, work)


@dataclass
class _Progress:
    """What the steps know: the configuration, which they complete by what they find."""

    config: Config
    witness: Witness = field(default_factory=Witness)


def _steps(progress: _Progress) -> list[Step]:
    config = progress.config
    own_ids = subordinate.wanted(config)
    groups = privileges.groups_wanted(config)
    process_name.find_arguments()
    return [
        partial(_join, progress),
        partial(_hide_arguments, config),
        *_hooks(config, "pre-jail"),
        *_hooks(config, "in-jail"),
        *_unshare(config, "unshare", own_ids),
        *(_hooks(config, "post-jail") if config.unshare or config.jailed else ()),
        partial(_chroot, config),
        partial(_pivot_root, config),
        *_unshare(config, "unshare2", None if "user" in config.unshare else own_ids),
        partial(_check_users, progress),
        partial(_hide, config),
        *_waits(config, config.wait_interface_seconds, "interface"),
        *_waits(config, config.wait_fs_seconds, "fs"),
        *_hooks(config, "as-root"),
        *([] if groups is None else [partial(_take_account, progress)]),
        lambda: privileges.become(config, groups, progress.config.entered),
        partial(_hide, config),
        *_hooks(config, "as-user"),
        *_waits(config, config.wait_socket_seconds, "socket"),
        partial(_chdir, "chdir", config.chdir),
        partial(_chdir, "chdir2", config.chdir2),
        partial(_find_terminals, progress),
    ]


def _run_steps(steps: Sequence[Step], progress: _Progress, work: Callable[[Config], None]) -> int:
    for done, step in enumerate(steps, 1):
        with signals.interruptible():
            goes_on_in_a_child = step()
        if goes_on_in_a_child:
            return pid_namespace.in_child(partial(_run_steps, steps[done:], progress, work))
    pid_namespace.stay_with_parent()
    return _work(progress.config, work)


def _work(config: Config, work: Callable[[Config], None]) -> int:
    try:
        # A variable that a hook removed is None, so that a default for it is removed, too.
        environment = [(name, os.environ.get(name)) for name, _ in config.environment]
        environment += [(name, os.environ[name]) for name in _put(config) if name in os.environ]
        work(replace(config, environment=tuple(environment)))
    finally:
        if status := at_exit.run([*_hooks(config, "as-user-atexit")]):
            raise SystemExit(status)
    return 0


def check(config: Config) -> None:
    """Raises FastptyError if this process lacks the rights for a step. uWSGI skips such steps silently."""
    if "user" in {*config.unshare, *config.unshare2} and (os.geteuid() != 0 or subordinate.wanted(config)):
        check_user_namespace(config)
    if os.geteuid() == 0:
        return
    for name, wanted, own in (
        ("immediate-uid", config.immediate_uid, os.getresuid()),
        ("immediate-gid", config.immediate_gid, os.getresgid()),
    ):
        if wanted is not None and own != (wanted,) * 3:
            raise FastptyError(f"{name} {wanted} needs root: start as root")
    if "user" in config.unshare:
        _check_as_own_root(config)
        return
    needing = {
        **{hook.option: True for hook in config.hooks if hook.phase == "as-root"},
        "chroot": config.chroot,
        "pivot-root": config.pivot_root,
        "cap": config.cap,
        "add-gid": config.add_gid,
    }
    for name, given in needing.items():
        if given:
            raise FastptyError(f"{name} needs root: start as root, add unshare = user, or remove the option")
    if config.uid is not None and os.getresuid() != (config.uid,) * 3:
        raise FastptyError(f"uid {config.uid} needs root: start as root, or as that user")
    if config.gid is not None and os.getresgid() != (config.gid,) * 3:
        raise FastptyError(f"gid {config.gid} needs root: start as root, or with that group")


def _check_as_own_root(config: Config) -> None:
    for name, number in (("uid", config.uid), ("gid", config.gid), *(("add-gid", gid) for gid in config.add_gid)):
        if number not in (None, 0) or name == "add-gid":
            raise FastptyError(
                f"{name} {number} needs root: in a user namespace of an ordinary user the only one is 0, "
                "which is that user outside"
            )


def _hooks(config: Config, phase: str) -> Iterator[Step]:
    chosen = (hook for hook in config.hooks if hook.phase == phase)
    return iter(sorted(chosen, key=lambda hook: hook.turn))


def _waits(config: Config, seconds: float, phase: str) -> Iterator[Step]:
    return (partial(wait.run, seconds) for wait in config.waits if wait.phase == phase)


def _set_umask(config: Config) -> None:
    if config.umask is not None:
        os.umask(config.umask)


def _set_environment(config: Config) -> None:
    environment = config.environ(os.environ)
    os.environ.clear()
    os.environ.update(environment)


def _take_immediate_account(config: Config) -> None:
    if config.immediate_uid is not None and os.geteuid() == 0:
        inherited.set_account_variables(config.immediate_uid, config, in_changed_root=False)


def _take_account(progress: _Progress) -> None:
    config = progress.config
    if config.uid is not None:
        progress.config = inherited.set_account_variables(config.uid, config, config.changes_root)


def _join(progress: _Progress) -> bool:
    config = progress.config
    if config.setns is None and config.setns_pid is None:
        return False
    from fastpty.jail import join

    privileges.hide()
    entered = join.by_path(config) if config.setns is not None else Entered(has_pid_namespace=False)
    if config.setns_pid is not None:
        if entered.environment is not None:
            raise FastptyError("setns-pid enters all namespaces of a container: remove setns")
        has_pid_namespace = entered.has_pid_namespace
        entered = join.by_pid(config)
        entered = replace(entered, has_pid_namespace=entered.has_pid_namespace or has_pid_namespace)
    foreign_root.enter()
    for note in entered.notes:
        logger.warning("%s", note)
    if entered.environment is not None:
        _leave_environment(config)
    progress.config = replace(config, entered=entered)
    return entered.has_pid_namespace


def _hide_arguments(config: Config) -> None:
    """Hides the command line from processes of a container's pid namespace. The process outside keeps it."""
    if pid_namespace.is_inner() and (config.setns or config.setns_pid):
        process_name.hide_arguments()


def _leave_environment(config: Config) -> None:
    """Removes the host's variables, except those of options and hooks: later hooks run programs of the container.

    The container's environment is for sessions only. In this process the C library would obey it. TZ stays, because the
    C library would read a time zone file from inside if it changed.
    """
    kept = [*(name for name, _ in config.environment), *_put(config), "TZ", "TZDIR"]
    environment = {"PATH": DEFAULT_PATH, **{name: os.environ[name] for name in kept if name in os.environ}}
    os.environ.clear()
    os.environ.update(environment)


def _put(config: Config) -> list[str]:
    """The names of variables that hooks set."""
    return [hook.variable for hook in config.hooks if hook.variable]


def _hide(config: Config) -> None:
    """Keeps programs in a foreign root from tracing the router."""
    if config.changes_root:
        privileges.keep_hidden()


def _unshare(config: Config, option: str, own_ids: OwnIds | None) -> Iterator[Step]:
    names = config.unshare if option == "unshare" else config.unshare2
    if names:
        from fastpty.jail import namespaces

        yield partial(namespaces.unshare, option, names, own_ids)
        so_far = {*config.unshare, *names}
        if {"pid", "mount"} <= so_far and {"pid", "mount"} & {*names}:
            yield namespaces.mount_proc


def _chroot(config: Config) -> None:
    if config.chroot is None:
        return
    try:
        os.chroot(config.chroot)
        os.chdir("/")  # uWSGI keeps its directory, through which a program can leave the root
        foreign_root.enter()
    except OSError as error:
        raise FastptyError(f"chroot: cannot enter {config.chroot}: {error.strerror}") from error


def _pivot_root(config: Config) -> None:
    if config.pivot_root is None:
        return
    new, old = config.pivot_root
    try:
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        os.chdir(new)
        linux.pivot_root(".", old)
        os.chdir("/")
        foreign_root.enter()
    except OSError as error:
        hint = "" if os.path.ismount(new) else " (it must be a mount: bind it over itself with mount-post-jail)"
        raise FastptyError(f"pivot-root: cannot make {new} the root: {error.strerror}{hint}") from error


def _check_users(progress: _Progress) -> None:
    """Raises FastptyError if rules about users cannot work, because clients have other ids in this user namespace."""
    if progress.witness.users_differ():
        check_user_namespace(progress.config)
    progress.witness.close()


def _find_terminals(progress: _Progress) -> None:
    """Raises FastptyError if sessions would get no terminal."""
    if not progress.config.hides_files:
        return
    from fastpty.jail import terminals

    if progress.config.changes_root:
        progress.config = replace(progress.config, terminals=terminals.find())
    else:
        terminals.check()


def _chdir(option: str, directory: str | None) -> None:
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise FastptyError(f"{option}: cannot enter {directory}: {error.strerror}") from error
