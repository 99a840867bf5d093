"""The login for the cluster's own etcd, in its two steps, against an etcd that is made up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pgha.errors import Refused, StoreUnreachable
from pgha.ops import store_login
from pgha.ops.store_login import Login
from pgha.ports import StoreDown
from tests.ops.stand_in import Clock

LOGIN = Login("shop", "pgha", "hush", "r00t")


@dataclass
class Accounts:
    """Remembers what was done. asked: a login is; users: their passwords; silent: nobody answers."""

    asked: bool = False
    silent: bool = False
    users: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    who: str = ""

    def _alive(self) -> None:
        if self.silent:
            raise StoreDown("no answer before the deadline")

    def _allowed(self) -> None:
        self._alive()
        if self.asked and self.who != "root":
            raise StoreDown("permission denied", denied=True)

    def is_required(self, *, deadline_s: float) -> bool:
        self._alive()
        return self.asked

    def log_in(self, user: str, password: str, *, deadline_s: float) -> bool:
        if self.users.get(user) != password:
            return False
        self.who = user
        return True

    def put_role(self, role: str, prefix: str, *, deadline_s: float) -> None:
        self._allowed()
        self.roles[role] = prefix

    def put_user(self, user: str, password: str, role: str, *, deadline_s: float) -> None:
        self._allowed()
        if self.asked and user == self.who and self.users.get(user) != password:
            self.who = ""  # a changed password ends what was logged in with it
        self.users[user] = password

    def require(self, *, deadline_s: float) -> None:
        self._allowed()
        self.asked = True

    def close(self) -> None:
        pass


def test_the_user_is_made_first_and_asked_for_last() -> None:
    accounts = Accounts()
    assert "pgha made" in store_login.prepare(accounts, LOGIN, Clock())
    assert accounts.users == {"root": "r00t", "pgha": "hush"} and not accounts.asked
    assert accounts.roles == {"root": "", "pgha-shop": "/pgha/shop/"}, "no key but the cluster's"
    assert "from now on" in store_login.require(accounts, Clock()) and accounts.asked


def test_a_second_run_changes_nothing() -> None:
    accounts = Accounts()
    for _ in range(2):
        store_login.prepare(accounts, LOGIN, Clock())
        store_login.require(accounts, Clock())
    assert "already" in store_login.prepare(accounts, LOGIN, Clock())
    assert "already" in store_login.require(accounts, Clock())


def test_another_password_on_the_hosts_comes_in_force() -> None:
    accounts = Accounts(asked=True, users={"root": "r00t", "pgha": "before"})
    store_login.prepare(accounts, LOGIN, Clock())
    assert accounts.users["pgha"] == "hush"


def test_a_store_with_somebody_elses_logins_is_refused() -> None:
    accounts = Accounts(asked=True, users={"root": "theirs"})
    with pytest.raises(Refused, match="another login"):
        store_login.prepare(accounts, LOGIN, Clock())
    assert accounts.users == {"root": "theirs"}


def test_a_silent_store_is_said_to_be_one_and_passwords_are_never_shown() -> None:
    with pytest.raises(StoreUnreachable) as first:
        store_login.prepare(Accounts(silent=True), LOGIN, Clock())
    with pytest.raises(StoreUnreachable) as last:
        store_login.require(Accounts(silent=True), Clock())
    assert "no answer" in first.value.because and "no answer" in last.value.because
    assert "hush" not in repr(LOGIN) and "r00t" not in repr(LOGIN)
