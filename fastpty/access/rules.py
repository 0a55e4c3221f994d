"""The rules about users and groups, and their decision whether a client may connect."""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Callable

from fastpty.access import lookups
from fastpty.access.accounts import NoAccountError
from fastpty.access.peer import Peer
from fastpty.access.subordinates import Subordinates
from fastpty.access.user_names import UserNames
from fastpty.configuration.config import Config
from fastpty.errors import RefusedError
from fastpty.system.user_namespace import is_unmapped

_NO_USER = "the access rules need to know your user, which this connection does not carry"

_KNOWN_SECONDS = 10.0
_KNOWN_MOST = 1024


class Rules:
    """`allow-user`, `allow-group`, `deny-user` and `deny-group`, as in sshd_config(5).

    A deny rule wins over every allow rule. Once any allow rule is set, everyone not named by one is refused, including
    root. A client whose certificate stands for a user (`tls-user`) is that user; `allow-tls-name` counts as an allow
    rule. If there is any rule, a client whose user is unknown (TCP) is refused, unless `allow-tls-name` allows it.

    In a user namespace a user can take its subordinate ids and drop groups. Deny rules apply to the user that owns the
    ids and to all groups of its account. With deny rules only, a uid without an account is refused. Create this object
    outside the jail, since the accounts are the host's.
    """

    def __init__(self, config: Config) -> None:
        self._allow_users = frozenset(config.allow_users)
        self._allow_groups = frozenset(config.allow_groups)
        self._deny_users = frozenset(config.deny_users)
        self._deny_groups = frozenset(config.deny_groups)
        self._any = config.has_rules
        self._run_as_peer = config.run_as == "peer"
        self._denies = bool(config.deny_users or config.deny_groups)
        needs_owners = self._denies or config.max_sessions_per_uid is not None
        self._subuids = Subordinates("/etc/subuid" if needs_owners else None)
        self._subgids = Subordinates("/etc/subgid" if self._denies else None)
        self._groups_of = _account_groups(config) if self._denies or (config.tls_users and self.need_groups) else None
        self._known: dict[int, tuple[float, frozenset[int] | None]] = {}
        self._user_names = UserNames()

    @property
    def need_groups(self) -> bool:
        """True if a rule needs the client's supplementary groups."""
        return bool(self._allow_groups or self._deny_groups)

    def groups_of_account(self, uid: int) -> frozenset[int]:
        """The groups of the account of a `tls-user`; raises RefusedError if it has none."""
        groups = None if self._groups_of is None else self._groups_of(uid)
        if groups is None:
            raise RefusedError(f"uid {uid} has no account here")
        return groups

    def check(self, peer: Peer) -> None:
        """Raises RefusedError, with a text for the client, unless it may start a session."""
        if self._run_as_peer and not peer.is_known:
            raise RefusedError(_NO_USER)
        if self._run_as_peer and peer.uid is not None and is_unmapped(peer.uid):
            raise RefusedError("your uid is not mapped in the user namespace of this router")
        self.check_connection(peer)
        if peer.uid == 0 and self._run_as_peer and 0 not in self._allow_users:
            raise RefusedError("root is not allowed to connect (that needs allow-user root)")

    def check_connection(self, peer: Peer) -> None:
        """Raises RefusedError, with a text for the client, unless it may connect, for a session or for statistics.

        Raises OSError if its groups cannot be found out.
        """
        if peer.uid is None:
            if self._any and not peer.is_admitted:
                raise RefusedError(_NO_USER)
            return
        has_allow_rule = bool(self._allow_users or self._allow_groups)
        allowed = peer.is_admitted or peer.uid in self._allow_users or peer.groups & self._allow_groups
        if has_allow_rule and not allowed:
            raise RefusedError(f"{self._in_words(peer.uid)} is not allowed to connect")
        if self._denies:
            self._check_denied(peer, peer.uid, needs_account=not (has_allow_rule or peer.is_admitted))

    def account_uid(self, peer: Peer) -> int | None:
        """The uid that a client counts as in limits: the owner of its uid if that is a subordinate one."""
        return None if peer.uid is None else min(self._subuids.owners(peer.uid), default=peer.uid)

    def _check_denied(self, peer: Peer, uid: int, *, needs_account: bool) -> None:
        """Applies the deny rules to every user that could have taken these ids, and to all groups of their accounts."""
        users = self._subuids.owners(uid).union({uid}, *(self._subgids.owners(gid) for gid in peer.groups))
        groups = [found for user in users if (found := self._groups(user)) is not None]
        if users & self._deny_users or any(found & self._deny_groups for found in (peer.groups, *groups)):
            raise RefusedError(f"{self._in_words(uid)} is not allowed to connect")
        if needs_account and not groups:
            raise RefusedError(
                f"uid {uid} has no account, so the deny rules cannot be checked: only an allow-user rule admits it"
            )

    def _in_words(self, uid: int) -> str:
        name = self._user_names.find(uid)
        return f"uid {uid}" + (f" ({name})" if name else "")

    def _groups(self, uid: int) -> frozenset[int] | None:
        """The groups of the uid's account, None if it has none. A result is cached for ten seconds.

        So clients cannot make the router ask a slow account database again and again.
        """
        until, groups = self._known.get(uid, (0.0, None))
        if time.monotonic() < until:
            return groups
        groups = None if self._groups_of is None or is_unmapped(uid) else self._groups_of(uid)
        if len(self._known) >= _KNOWN_MOST:
            self._known.clear()
        self._known[uid] = time.monotonic() + _KNOWN_SECONDS, groups
        return groups


def _account_groups(config: Config) -> Callable[[int], frozenset[int] | None]:
    """Returns the function that finds the groups of a uid's account.

    In a changed root the host's accounts cannot be read, so all of them are read now, before it is entered.
    """
    return _all_accounts().get if config.changes_root else _groups_now


def _groups_now(uid: int) -> frozenset[int] | None:
    """Raises OSError if the account cannot be looked up, and RefusedError if it cannot yet."""
    try:
        account = lookups.account_of(uid)
    except NoAccountError:
        return None
    return frozenset({account.gid, *account.groups})


def _all_accounts() -> dict[int, frozenset[int]]:
    more: dict[str, set[int]] = {}
    for group in grp.getgrall():
        for member in group.gr_mem:
            more.setdefault(member, set()).add(group.gr_gid)
    return {entry.pw_uid: frozenset({entry.pw_gid, *more.get(entry.pw_name, ())}) for entry in pwd.getpwall()}
