"""A login for the cluster's own etcd: a user whose role ends at the cluster's prefix, then asked for of everybody.

In two steps, with the watchdogs between: an agent that has a user and password gets along with both, one that has none
would lose its lease. Both may be done again at any time. May import ports and records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pgha import records
from pgha.errors import Refused, StoreUnreachable
from pgha.ports import Clock, StoreDown

ROOT = "root"  # etcd's name for the user and the role that may do everything
LOGIN_S = 30.0


class StoreAccounts(Protocol):
    """etcd's users and roles (`adapters.etcd_accounts`). Every method raises StoreDown when nobody answers in time."""

    def is_required(self, *, deadline_s: float) -> bool:
        """Whether a login is asked for."""
        ...

    def log_in(self, user: str, password: str, *, deadline_s: float) -> bool:
        """Go on as this user; False when it is refused."""
        ...

    def put_role(self, role: str, prefix: str, *, deadline_s: float) -> None:
        """A role for all keys under a prefix, "" for none."""
        ...

    def put_user(self, user: str, password: str, role: str, *, deadline_s: float) -> None:
        """A user with this password and this role."""
        ...

    def require(self, *, deadline_s: float) -> None:
        """Ask for a login from now on."""
        ...

    def close(self) -> None:
        """End the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """The cluster's user, and etcd's root, with their passwords."""

    cluster: str
    user: str
    password: str = field(repr=False)
    root_password: str = field(repr=False)

    @property
    def role(self) -> str:
        """Of the user: the cluster's keys and no others."""
        return f"pgha-{self.cluster}"


def prepare(accounts: StoreAccounts, login: Login, clock: Clock) -> str:
    """The user can log in once that is asked for; says what was done. Raises Refused, StoreUnreachable."""
    end = clock.now_s() + LOGIN_S
    try:
        asked = accounts.is_required(deadline_s=end)
        if asked and accounts.log_in(login.user, login.password, deadline_s=end):
            return f"etcd's user {login.user} already there"
        if asked and not accounts.log_in(ROOT, login.root_password, deadline_s=end):
            because = f"neither {login.user} nor {ROOT} can log in with the passwords kept on the hosts"
            raise Refused("etcd asks for another login", because, f"put the right ones into /etc/pgha/{login.cluster}")
        if not asked:
            accounts.put_role(ROOT, "", deadline_s=end)
            accounts.put_user(ROOT, login.root_password, ROOT, deadline_s=end)
        accounts.put_role(login.role, records.prefix(login.cluster), deadline_s=end)
        accounts.put_user(login.user, login.password, login.role, deadline_s=end)
    except StoreDown as e:
        raise StoreUnreachable("etcd's users can't be made", e.why, "look at etcd's log, and run it again") from e
    return f"etcd's user {login.user} made, for {records.prefix(login.cluster)} only"


def require(accounts: StoreAccounts, clock: Clock) -> str:
    """etcd asks everybody for a login; says what was done. Raises StoreUnreachable."""
    end = clock.now_s() + LOGIN_S
    try:
        if accounts.is_required(deadline_s=end):
            return "etcd already asks for a login"
        accounts.require(deadline_s=end)
    except StoreDown as e:
        raise StoreUnreachable("etcd can't be made to ask for a login", e.why, "look at etcd's log") from e
    return "etcd asks for a login from now on"
