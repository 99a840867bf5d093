"""etcd's own users and roles, for an etcd that pgha has set up: `ops.store_login.StoreAccounts`.

Passwords go over the connection's TLS, in messages only. Every call may be made again: what is there is no error.
May import `pgha.nodefile`, `pgha.ports`, the store's parts and the standard library.
"""

from __future__ import annotations

from dataclasses import replace

from pgha.adapters.etcd_members import Members, Misunderstood, Pace, Question
from pgha.adapters.etcd_messages import Rpc, TokenReply
from pgha.adapters.etcd_wire import Methods, libraries
from pgha.nodefile import StoreAccess
from pgha.ports import Clock, StoreDown

OFF = "authentication is not enabled"
THERE = "already exists"
REFUSED = "authentication failed"


class EtcdAccounts:
    """Acts as whoever logged in last; as nobody at first, which etcd takes as long as it asks for no login."""

    def __init__(self, access: StoreAccess, clock: Clock) -> None:
        self._members = Members(replace(access, user="", password_file=""), clock, Pace(2.0, 1.0))

    def is_required(self, *, deadline_s: float) -> bool:
        """Whether etcd asks for a login. Raises StoreDown."""
        try:
            self._authenticate("root", "", deadline_s)
        except Misunderstood as e:
            if OFF in e.why:
                return False
            raise
        except StoreDown as e:
            if not e.denied:
                raise
        return True

    def log_in(self, user: str, password: str, *, deadline_s: float) -> bool:
        """Go on as this user; False when etcd refuses it. Raises StoreDown."""
        try:
            self._members.token = self._authenticate(user, password, deadline_s)
        except StoreDown as e:
            if e.denied and REFUSED in e.why:
                return False
            raise
        return True

    def put_role(self, role: str, prefix: str, *, deadline_s: float) -> None:
        """A role that may read and write what is under the prefix ("": none of its own). Raises StoreDown."""
        wire = libraries()
        self._do("RoleAdd", wire.role_request(role), deadline_s)
        if prefix:
            self._do("RoleGrantPermission", wire.permission_request(role, prefix), deadline_s)

    def put_user(self, user: str, password: str, role: str, *, deadline_s: float) -> None:
        """A user with this password and role. Raises StoreDown."""
        wire = libraries()
        if not self._do("UserAdd", wire.user_request(user, password), deadline_s):
            self._do("UserChangePassword", wire.password_request(user, password), deadline_s)
        self._do("UserGrantRole", wire.grant_request(user, role), deadline_s)

    def require(self, *, deadline_s: float) -> None:
        """From now on etcd asks everybody for a login. Raises StoreDown."""
        self._do("AuthEnable", libraries().enable_request(), deadline_s)

    def close(self) -> None:
        """End the connections."""
        self._members.close()

    def _authenticate(self, user: str, password: str, deadline_s: float) -> str:
        request = libraries().login_request(user, password)
        question: Question[TokenReply] = Question(
            self._members, lambda m: m.authenticate, request, deadline_s=deadline_s, repeatable=True, login=True
        )
        try:
            reply = question.next_reply()
        finally:
            question.drop()
        if reply is None:
            raise StoreDown(question.why)
        return reply.token

    def _do(self, method: str, request: object, deadline_s: float) -> bool:
        """One call; False when what it makes is there already."""

        def rpc(member: Methods) -> Rpc[object]:
            return libraries().account_method(member.channel, method)

        question = Question(self._members, rpc, request, deadline_s=deadline_s, repeatable=True)
        try:
            if question.next_reply() is None:
                raise StoreDown(question.why)
        except Misunderstood as e:
            if THERE not in e.why:
                raise StoreDown(e.why) from None
            return False
        finally:
            question.drop()
        return True
