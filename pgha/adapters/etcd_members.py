"""Asking the members of an etcd cluster: one question, several members, one deadline.

Duty: channels, login, the order of members, attempts in turn and in parallel. Knows nothing of what is asked.
Locks are never held while a call is under way (but for the login): a slow question does not delay another thread's.
May import `pgha.nodefile`, `pgha.ports`, `pgha.adapters.etcd_wire` and the standard library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic

from pgha.adapters.etcd_messages import Metadata, R, Reply, Rpc
from pgha.adapters.etcd_wire import Methods, Verdict, judge, libraries
from pgha.nodefile import StoreAccess
from pgha.ports import Clock, StoreDown

PAUSE_S = 0.1  # between two rounds over members that refuse at once
Secret = Callable[[], str]
TWINS = 2  # attempts of one question under way at the same time


@dataclass(frozen=True, slots=True)
class Pace:
    """attempt_s: budget of the first attempts (later ones get more). hedge_after_s: when a second member is asked."""

    attempt_s: float
    hedge_after_s: float


class Members:
    """The members, who of them answered last, and our login. Connects at first use; thread-safe."""

    def __init__(self, access: StoreAccess, clock: Clock, pace: Pace, secret: Secret | None = None) -> None:
        """secret: gives the password, in place of the file's."""
        self._secret = secret
        if not access.endpoints:
            raise ValueError("no store endpoint")
        self.access, self.clock, self.pace = access, clock, pace
        self.good = 0
        self.token = ""
        self.closed = False
        self._lock = threading.Lock()
        self._login = threading.Lock()
        self._methods: tuple[Methods, ...] = ()

    def methods(self) -> tuple[Methods, ...]:
        """The methods of each member, in the order of the endpoints. Raises StoreDown for unreadable TLS files."""
        if self._methods and not self.closed:
            return self._methods
        with self._lock:
            if self.closed:
                raise StoreDown("the store client is closed")
            if not self._methods:
                tls = self._tls()
                self._methods = tuple(libraries().connect(endpoint, tls) for endpoint in self.access.endpoints)
            return self._methods

    def metadata(self) -> Metadata:
        """What goes with each call: our token, once there is one."""
        return (("token", self.token),) if self.token else ()

    def close(self) -> None:
        """End all calls under way."""
        with self._lock:
            self.closed = True
            for methods in self._methods:
                methods.channel.close()

    def login(self, stale: str, member: int, *, deadline_s: float) -> None:
        """Replace a token that this member refused; a no-op when another thread just did. Raises StoreDown."""
        left = deadline_s - self.clock.now_s()
        if left <= 0 or not self._login.acquire(timeout=left):
            raise StoreDown("no time left to log in")
        try:
            if self.token == stale:
                self.token = self._new_token(member, deadline_s)
        finally:
            self._login.release()

    def _new_token(self, member: int, deadline_s: float) -> str:
        """Whoever has refused us is there: it is asked first."""
        request = libraries().login_request(self.access.user, self._password())
        question = Question(self, lambda m: m.authenticate, request, deadline_s=deadline_s, repeatable=True, login=True)
        question.begin_with(member)
        try:
            reply = question.next_reply()
        except Misunderstood as e:
            if "authentication is not enabled" in e.why:
                return ""
            raise
        finally:
            question.drop()
        if reply is None:
            raise StoreDown(f"no login: {question.why}")
        return reply.token

    def _password(self) -> str:
        if self._secret is not None:
            return self._secret()
        try:
            return Path(self.access.password_file).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as e:
            raise StoreDown(f"the store's password can't be read: {e}", denied=True) from None

    def _tls(self) -> tuple[bytes | None, bytes | None, bytes | None] | None:
        access = self.access
        if not (access.ca_file or access.cert_file):
            return None
        try:
            ca, key, cert = (
                Path(name).read_bytes() if name else None
                for name in (access.ca_file, access.key_file, access.cert_file)
            )
        except OSError as e:
            raise StoreDown(f"the store's TLS files can't be read: {e}", denied=True) from None
        return ca, key, cert


class Misunderstood(RuntimeError):
    """A member says that the request itself is wrong: a bug of ours."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[R]):
    number: int
    member: int
    token: str
    reply: Reply[R]


class Question(Generic[R]):
    """One request, put to the members until one answers or the deadline passes.

    repeatable: doing it twice is harmless. Then a member that is late gets a twin, and timed-out attempts are followed
    by others. Otherwise there is one attempt, with all the time left, and another only if it surely did nothing.
    login: this is the login itself; its refusal is final.
    loose: how many attempts ended without our knowing whether they were done. `why`: what went wrong last.
    """

    def __init__(
        self,
        members: Members,
        rpc: Callable[[Methods], Rpc[R]],
        request: object,
        *,
        deadline_s: float,
        repeatable: bool,
        login: bool = False,
    ) -> None:
        self.loose = 0
        self.sent = 0
        self.why = "no answer before the deadline"
        self._members, self._rpc, self._request = members, rpc, request
        self._deadline_s, self._repeatable = deadline_s, repeatable
        self._may_login = bool(members.access.user) and not login
        self._login = login
        self._next = members.good
        self._refusals = 0
        self._not_before_s = 0.0
        self._flying: dict[int, _Attempt[R]] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()

    @property
    def flying(self) -> int:
        """Attempts under way."""
        return len(self._flying)

    def begin_with(self, member: int) -> None:
        """Ask this member first, not the one that answered last."""
        self._next = member

    def next_reply(self, *, more: bool = True) -> R | None:
        """The next answer; None when the deadline has passed or, without `more` attempts, none is under way.

        Raises StoreDown (denied) when our credentials are refused, Misunderstood for a bug of ours.
        """
        now = self._members.clock.now_s
        while (left := self._deadline_s - (at := now())) > 0:
            due_s = self._due_s() if more else None
            if due_s is not None and due_s <= at:
                self._send(left)
                continue
            if due_s is None and not self._flying:
                return None
            try:
                number = self._ended.get(timeout=left if due_s is None else min(left, due_s - at))
            except Empty:
                continue
            reply = self._take(self._flying.pop(number))
            if reply is not None:
                return reply
        self.loose += len(self._flying)
        return None

    def drop(self) -> None:
        """Give up what is still under way."""
        for attempt in list(self._flying.values()):
            attempt.reply.cancel()

    def _due_s(self) -> float | None:
        """When the next attempt is to be sent (absolute); None for never, as things are."""
        if not self._flying:
            return self._not_before_s if self._repeatable or not self.loose else None
        if self._repeatable and len(self._flying) < min(TWINS, len(self._members.access.endpoints)):
            return self._not_before_s
        return None

    def _send(self, left: float) -> None:
        methods = self._members.methods()
        busy = {attempt.member for attempt in self._flying.values()}
        turns = (turn % len(methods) for turn in range(self._next, self._next + len(methods)))
        member = next(turn for turn in turns if turn not in busy)
        self._next = member + 1
        pace = self._members.pace
        # A store that is slow as a whole must get its answer through: later attempts have more patience.
        patience = pace.attempt_s * 2 ** (self.sent // TWINS)
        budget = max(0.001, min(left, patience) if self._repeatable else left)
        token = self._members.token
        number, self.sent = self.sent, self.sent + 1
        try:
            reply = self._rpc(methods[member]).future(
                self._request, timeout=budget, metadata=() if self._login else self._members.metadata()
            )
        except ValueError as e:  # gRPC's word for a channel closed by another thread
            raise StoreDown(f"the store client is closed: {e}") from None
        self._flying[number] = _Attempt(number, member, token, reply)
        self._not_before_s = self._members.clock.now_s() + pace.hedge_after_s
        ended = self._ended
        reply.add_done_callback(lambda _reply: ended.put(number))

    def _take(self, attempt: _Attempt[R]) -> R | None:
        """The answer of an ended attempt, or None when it has none; what follows is up to `_due_s`."""
        code = attempt.reply.code().name
        if code == "OK":
            self._members.good = attempt.member
            return attempt.reply.result()
        details = attempt.reply.details() or ""
        self.why = f"{self._members.access.endpoints[attempt.member]}: {code} {details}"[:300]
        verdict = judge(code, details)
        if verdict is Verdict.BUG:
            raise Misunderstood(self.why)
        if verdict is Verdict.DENIED:
            # Over TLS with client certificates etcd calls so also who has not logged in yet.
            self._log_in_again(attempt, final=code == "PERMISSION_DENIED" and bool(attempt.token))
            return None
        self.loose += verdict is Verdict.UNKNOWN
        if self._members.good == attempt.member:
            self._members.good = (attempt.member + 1) % len(self._members.access.endpoints)
        self._refusals += 1
        whole_round = self._refusals % len(self._members.access.endpoints) == 0
        self._not_before_s = self._members.clock.now_s() + PAUSE_S if whole_round else 0.0
        return None

    def _log_in_again(self, attempt: _Attempt[R], *, final: bool) -> None:
        if final or not self._may_login:
            raise StoreDown(self.why, denied=True)
        self._may_login = False
        self._members.login(attempt.token, attempt.member, deadline_s=self._deadline_s)
        self._next, self._not_before_s = attempt.member, 0.0
