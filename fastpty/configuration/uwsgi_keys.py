"""uWSGI's options that are not in the table: which are ignored, which are refused, and which are misspelt options."""

from __future__ import annotations

import re
from functools import lru_cache

from fastpty.configuration.options import BY_NAME

PLUGINS_BUILT_IN = frozenset({"corerouter", "forkptyrouter", "pty"})
"""The uWSGI plugins that fastpty replaces."""

IGNORED = frozenset(
    {
        *("autoload", "force-gateway", "no-orphans", "plugin-dir", "plugins-dir"),
        # the fork that a pid namespace needs is always made
        *("refork", "refork-as-root", "refork-post-jail", "drop-after-apps", "drop-after-init"),
    }
)
"""uWSGI options that may stand in a file and are ignored without a warning: fastpty lacks nothing that they ask for."""

_FALLBACK = "a terminal has no second node: start a second router on another address, for the clients to try"
_ZERG = "use fd://N for inherited sockets, or share a port with reuse-port"
WITHOUT_MEANING = {
    f"{router}-{word}": why
    for router in ("forkptyrouter", "forkpty-router")
    for word, why in (("fallback", _FALLBACK), ("zerg", _ZERG))
}
"""Options of uWSGI's forkptyrouter plugin that make no sense for a terminal, and what to do instead."""

_CONFINING = frozenset(
    {
        # another root, other namespaces, other control groups
        *("jail", "jail2", "jail-attach", "namespace", "ns", "namespace-net", "ns-net", "namespace-keep-mount"),
        *("setns-preopen", "setns-socket", "setns-socket-skip", "setns-skip"),
        *("cgroup", "cgroup-opt", "cgroup-dir-mode"),
        # fewer resources
        *("limit-as", "limit-nproc", "file-write"),
        # other files and other names, which may hold any of these
        *("config", "inject-before", "inject-after", "declare-option", "declare-option2"),
    }
)
_CONFINING_FAMILIES = re.compile(
    r"(seccomp|apparmor|selinux|landlock)(-.*)?"
    # steps that build the jail
    r"|(hook|exec|mount|umount|call)-(asap|pre-jail|post-jail|in-jail|as-root|as-user)(-.*)?"
    # unknown conditions and loops: if only they were ignored, the lines inside them would always apply
    r"|(end-?)?(if|for)(-.*)?|if[a-z]+"
)

# What to use instead of an option that is not supported.
_INSTEAD = (
    (re.compile(r"call-.*"), "fastpty cannot call C functions: use exec- or hook- of the same phase"),
    (re.compile(r"u?mount-as-user.*"), "after privileges are dropped nothing can be mounted: use mount-as-root"),
    (re.compile(r"namespace|ns|namespace-keep-mount"), "use unshare = fs,pid,uts,ipc and pivot-root"),
    (re.compile(r"(namespace|ns)-net"), "use unshare = net and a hook that configures the network"),
    (re.compile(r"setns-.*"), "join this router's namespaces from outside with setns-pid"),
    (re.compile(r"jail|jail2|jail-attach"), "it is for FreeBSD: use unshare with chroot or pivot-root"),
    (re.compile(r"cgroup.*"), "put the router into a cgroup with exec-asap or the service manager"),
    (re.compile(r"limit-(as|nproc)"), "start the router under prlimit(1) or a service manager with limits"),
)


def instead(name: str) -> str | None:
    """What to use instead of the uWSGI option `name`; None if there is nothing."""
    return next((advice for pattern, advice in _INSTEAD if pattern.fullmatch(name)), None)


def is_confining(name: str) -> bool:
    """Whether ignoring the uWSGI option `name` could leave sessions less confined than the file asks for."""
    option = BY_NAME.get(name)
    if option is not None and option.in_files:
        return False
    return name in _CONFINING or _CONFINING_FAMILIES.fullmatch(name) is not None


def nearest(name: str, *, in_files: bool) -> str | None:
    """The option name that is most like `name`, for a hint; None if none is similar."""
    from difflib import get_close_matches  # only errors and warnings need it

    known = [known for known, option in BY_NAME.items() if option.in_files or not in_files]
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    return close[0] if close else None


_MEANT_IN_FILES = sorted({*_CONFINING, *(name for name, option in BY_NAME.items() if option.in_files)})
_NOT_MISSPELT = frozenset({"get", "iprint", "sni", "st"})
"""uWSGI options that look like a misspelt name but are not."""

_SECTIONS = ("uwsgi", "fastpty")
_SECTION_SLIPS_MOST = 1
_MANY_LETTERS = 6
_FEW_LETTERS = 2


@lru_cache(maxsize=1024)
def misspelt(name: str) -> str | None:
    """The option of which `name` must be a misspelling; None if it is not close to any.

    Close means one slip, or two in a longer name: a letter too many, missing or wrong, or two letters exchanged.
    Ignoring a misspelt option could leave sessions less confined than the file asks for.
    """
    if name in _NOT_MISSPELT or name in BY_NAME:
        return None
    counted = ((_slips(name.lower(), meant, _slips_most(meant)), meant) for meant in _MEANT_IN_FILES)
    near = [(slips, meant) for slips, meant in counted if slips <= _slips_most(meant)]
    return min(near)[1] if near else None


def misspelt_section(name: str) -> str | None:
    """The section, uwsgi or fastpty, of which `name` must be a misspelling; None if it is not close to either."""
    near = (meant for meant in _SECTIONS if _slips(name.lower(), meant, _SECTION_SLIPS_MOST) <= _SECTION_SLIPS_MOST)
    return None if name in _SECTIONS else next(near, None)


def _slips_most(name: str) -> int:
    return 2 if len(name) >= _MANY_LETTERS else 1 if len(name) > _FEW_LETTERS else 0


def _slips(a: str, b: str, most: int) -> int:
    """The number of slips between two names (the Damerau-Levenshtein distance), counted no further than most + 1."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        next_row = [i]
        for j, other in enumerate(b, 1):
            slips = min(row[j] + 1, next_row[-1] + 1, row[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                slips = min(slips, before[j - 2] + 1)
            next_row.append(slips)
        if min(next_row) > most:
            return most + 1
        before, row = row, next_row
    return row[-1]
