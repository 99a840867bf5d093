"""Which members an etcd cluster has, and how one is taken out or let in: `ports.StoreMembers`.

The operator's commands only; the watchdog never changes etcd. Member ids are etcd's own 64-bit numbers.
May import `pgha.nodefile`, `pgha.ports`, its own parts and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pgha.adapters.etcd_members import Members, Misunderstood, Pace, Question, Secret
from pgha.adapters.etcd_messages import R, Rpc
from pgha.adapters.etcd_wire import Methods, libraries
from pgha.nodefile import StoreAccess
from pgha.ports import Clock, StoreDown, StoreMember

NOT_YET = "unhealthy cluster"  # etcdserver.ErrUnhealthy: nothing was done
NO = "re-configuration failed"  # ErrNotEnoughStartedMembers, ErrLearnerNotReady: with the code UNKNOWN
PAUSE_S = 0.5
ONE_ASKING_S = 3.0  # longer than an election; who was heard is answered in milliseconds


class _Refused(StoreDown):
    """etcd says why it does not."""


class _Member(Protocol):
    """rpc.proto, Member."""

    ID: int
    name: str
    peerURLs: Sequence[str]
    clientURLs: Sequence[str]


class _Reply(Protocol):
    """MemberListResponse, and what MemberAdd and MemberRemove answer."""

    members: Sequence[_Member]


class EtcdMembership:
    """One client of an etcd cluster. Each call has its deadline, raises StoreDown when it is not known to be done."""

    def __init__(self, access: StoreAccess, clock: Clock, secret: Secret | None = None) -> None:
        """access: its user is etcd's root where a login is asked for; secret: gives that one's password."""
        self._members = Members(access, clock, Pace(1.0, 0.5), secret)

    def list(self, *, deadline_s: float) -> tuple[StoreMember, ...]:
        """As any member knows them."""
        reply = self._ask("MemberList", libraries().members_request(), deadline_s, repeatable=True)
        return tuple(StoreMember(m.ID, m.name, tuple(m.peerURLs), bool(m.clientURLs)) for m in reply.members)

    def add(self, peer_url: str, *, deadline_s: float) -> None:
        """Let a member in; it counts for the quorum from now on, so it has to be started."""
        request = libraries().member_add_request(peer_url)
        self._change("MemberAdd", request, deadline_s, lambda listed: any(peer_url in m.peer_urls for m in listed))

    def remove(self, ident: int, *, deadline_s: float) -> None:
        """Take a member out for good: it ends by itself, and its data are of no use any more."""
        request = libraries().member_remove_request(ident)
        self._change("MemberRemove", request, deadline_s, lambda listed: all(m.ident != ident for m in listed))

    def close(self) -> None:
        """End the connections."""
        self._members.close()

    def _change(
        self, method: str, request: object, deadline_s: float, is_done: Callable[[Sequence[StoreMember]], bool]
    ) -> None:
        """Ask until it is done, whoever did it, or refused for good.

        etcd changes its members only once all that run have known each other for 5 s: so long it says no. And a change
        that a follower passed on to a leader which had just died is forgotten without a word: who got no answer looks
        at the list, and asks again. (Neither can be done twice: etcd knows a listed URL, and a number that is gone.)
        """
        now = self._members.clock.now_s
        while True:
            try:
                self._ask(method, request, min(deadline_s, now() + ONE_ASKING_S), repeatable=False)
            except StoreDown as e:
                if not e.denied and is_done(self.list(deadline_s=deadline_s)):
                    return
                is_final = e.denied or NO in e.why or (isinstance(e, _Refused) and NOT_YET not in e.why)
                if is_final or now() + PAUSE_S >= deadline_s:
                    raise
                self._members.clock.sleep(PAUSE_S)
            else:
                return

    def _ask(self, method: str, request: object, deadline_s: float, *, repeatable: bool) -> _Reply:
        def rpc(methods: Methods) -> Rpc[_Reply]:
            return libraries().cluster_method(methods.channel, method)

        return _answer(self._members, rpc, request, deadline_s=deadline_s, repeatable=repeatable)


def _answer(
    members: Members, rpc: Callable[[Methods], Rpc[R]], request: object, *, deadline_s: float, repeatable: bool
) -> R:
    question = Question(members, rpc, request, deadline_s=deadline_s, repeatable=repeatable)
    try:
        reply = question.next_reply()
    except Misunderstood as e:
        raise _Refused(e.why) from None
    finally:
        question.drop()
    if reply is None:
        raise StoreDown(question.why)
    return reply
