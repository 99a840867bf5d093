"""The store in etcd (v3 API, over gRPC): a `ports.Store`.

Duty: the four verbs; how they reach a member is `etcd_members`, what they look like on the wire `etcd_wire`.
Only linearizable reads. Nothing heavy is loaded before the first call.
May import `pgha.nodefile`, `pgha.ports`, its own parts and the standard library.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pgha.adapters.etcd_members import Members, Misunderstood, Pace, Question
from pgha.adapters.etcd_messages import AlarmReply, Reply, StatusReply, TxnReply
from pgha.adapters.etcd_watch import Dull, Watch
from pgha.adapters.etcd_wire import libraries, read_back, snapshot
from pgha.nodefile import StoreAccess
from pgha.ports import (
    Clock,
    Committed,
    Conflict,
    Entry,
    Guard,
    MemberHealth,
    Snapshot,
    StoreDown,
    StoreHealth,
    Unknown,
    Write,
)


class EtcdStore:
    """One client of an etcd cluster; may be used from several threads. Make it after forking.

    attempt_s: budget of one member's attempt. hedge_after_s: a second member is asked when the first is that late.
    dull: changes for which `wait` need not return; it is told of every change.
    The password and TLS files are read at login and at the first connection. Endpoints had best be addresses.
    """

    def __init__(
        self,
        access: StoreAccess,
        clock: Clock,
        attempt_s: float = 0.5,
        hedge_after_s: float = 0.2,
        *,
        dull: Dull = lambda _key, _value, _revision: False,
    ) -> None:
        self._dull = dull
        self._members = Members(access, clock, Pace(attempt_s, hedge_after_s))
        self._clock = clock
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}

    def read(self, prefix: str, *, deadline_s: float) -> Snapshot:
        """All keys under `prefix`, linearizably. Raises StoreDown."""
        request = libraries().read_request(prefix)
        question = Question(self._members, lambda m: m.range, request, deadline_s=deadline_s, repeatable=True)
        try:
            reply = question.next_reply()
        finally:
            question.drop()
        if reply is None:
            raise StoreDown(question.why)
        return snapshot(reply)

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        """One transaction: if all guards hold, all writes. Also refused credentials are Unknown here: `read` tells.

        It is sent to a second member, or again, only when that can't do it twice (see `once_only`). So a transaction
        that only creates keys has one attempt, which is Unknown when that member fails; values must carry a nonce,
        by which a late twin knows what the first one wrote. Raises ValueError for a key written twice.
        """
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("a transaction can't write one key twice")
        request = libraries().txn_request(guards, writes)
        question = Question(
            self._members, lambda m: m.txn, request, deadline_s=deadline_s, repeatable=once_only(guards, writes)
        )
        try:
            return _outcome(question, guards, writes)
        except StoreDown as e:
            return Unknown(e.why)
        finally:
            question.drop()

    def wait(self, prefix: str, since: int, *, deadline_s: float) -> bool:
        """Blocks until something under `prefix` changed after `since`, or the deadline. A hint only."""
        with self._lock:
            watch = self._watches.get(prefix)
            if watch is None:
                watch = self._watches[prefix] = Watch(self._members, prefix, self._dull)
        return watch.changed(since, deadline_s=deadline_s)

    def health(self, *, deadline_s: float) -> StoreHealth:
        """Asks every member for its status, and any of them for the alarms and a linearizable answer. Never raises."""
        endpoints = self._members.access.endpoints
        try:
            methods = self._members.methods()
            left = max(0.001, deadline_s - self._clock.now_s())
            request, metadata = libraries().status_request(), self._members.metadata()
            asked = [m.status.future(request, timeout=left, metadata=metadata) for m in methods]
            quorum, why = self._quorum(deadline_s)
            alarms = self._alarms(deadline_s) if quorum else {}
        except (StoreDown, ValueError) as e:
            return StoreHealth(False, tuple(MemberHealth(endpoint, False, problem=str(e)) for endpoint in endpoints))
        said = [_status(reply) for reply in asked]
        clusters = {status.header.cluster_id for status in said if not isinstance(status, str)}
        mixed = "the endpoints belong to different etcd clusters" if len(clusters) > 1 else ""
        members = [_member(e, s, alarms, mixed or why) for e, s in zip(endpoints, said, strict=True)]
        return StoreHealth(quorum, tuple(members))

    def kept_revisions(self, prefix: str, *, deadline_s: float) -> int:
        """How many revisions the store keeps if it has never forgotten one, else 0. Raises StoreDown."""
        request = libraries().oldest_request(prefix)
        question = Question(self._members, lambda m: m.range, request, deadline_s=deadline_s, repeatable=True)
        try:
            reply = question.next_reply()
        except Misunderstood as e:
            if "compacted" not in e.why:
                raise
            return 0
        finally:
            question.drop()
        if reply is None:
            raise StoreDown(question.why)
        return reply.header.revision

    def close(self) -> None:
        """End all streams and connections; later calls fail as if the store were down."""
        with self._lock:
            watches = list(self._watches.values())
        for watch in watches:
            watch.close()
        self._members.close()

    def _quorum(self, deadline_s: float) -> tuple[bool, str]:
        """Whether a linearizable answer came, and what is wrong if it was a refusal."""
        request = libraries().probe_request()
        question = Question(self._members, lambda m: m.range, request, deadline_s=deadline_s, repeatable=True)
        try:
            return question.next_reply() is not None, ""
        except StoreDown as e:
            # etcd checks permissions only after the linearizable round: a refusal of this key is an answer too.
            return e.denied and "PERMISSION_DENIED" in e.why, e.why if "PERMISSION_DENIED" not in e.why else ""
        finally:
            question.drop()

    def _alarms(self, deadline_s: float) -> dict[int, str]:
        """The alarms by member id; none when we may not know."""
        request = libraries().alarm_request()
        question: Question[AlarmReply] = Question(
            self._members, lambda m: m.alarm, request, deadline_s=deadline_s, repeatable=True
        )
        try:
            reply = question.next_reply()
        except (StoreDown, Misunderstood):
            return {}
        finally:
            question.drop()
        return {a.memberID: libraries().alarm_name(a.alarm) for a in reply.alarms} if reply else {}


def once_only(guards: Sequence[Guard], writes: Sequence[Write]) -> bool:
    """Whether a transaction can't be done twice, however often and late it arrives.

    So it is when it writes a key that it also guards at a revision: once done, that key never has this revision
    again. A guard of 0 (absent) is not enough: the key may be deleted, and a late twin would create it anew.
    """
    guarded = {guard.key for guard in guards if guard.revision > 0}
    return any(write.key in guarded for write in writes)


def _outcome(
    question: Question[TxnReply], guards: Sequence[Guard], writes: Sequence[Write]
) -> Committed | Conflict | Unknown:
    """What the answers to a transaction mean, taken together."""
    conflict = False
    while (reply := question.next_reply(more=not conflict)) is not None:
        if reply.succeeded:
            return Committed(reply.header.revision)
        conflict = True
        if not (question.loose or question.flying):
            return Conflict()
        # Another attempt of ours may have been done, and be the very reason of this conflict.
        revision = _ours(guards, writes, read_back(reply))
        if revision:
            return Committed(revision)
    if conflict and not question.loose:
        return Conflict()
    return Unknown(f"an earlier attempt has no known end: {question.why}" if conflict else question.why)


def _ours(guards: Sequence[Guard], writes: Sequence[Write], found: Sequence[Entry | None]) -> int:
    """The revision of our own transaction, if all we put under a guard stands there, newer than guarded; else 0."""
    guarded = {guard.key: guard.revision for guard in guards}
    revisions = set()
    for write, entry in zip(writes, found, strict=True):
        if write.value is None or write.key not in guarded:
            continue
        if entry is None or entry.value != write.value or entry.revision <= guarded[write.key]:
            return 0
        revisions.add(entry.revision)
    return revisions.pop() if len(revisions) == 1 else 0


def _status(reply: Reply[StatusReply]) -> StatusReply | str:
    """What a member said of itself, or why it did not."""
    code = reply.code().name  # waits; the call has its deadline
    return reply.result() if code == "OK" else f"{code} {reply.details() or ''}".strip()


def _member(endpoint: str, said: StatusReply | str, alarms: dict[int, str], problem: str) -> MemberHealth:
    if isinstance(said, str):
        return MemberHealth(endpoint, reachable=False, problem=said)
    mine = said.header.member_id
    problems = [problem, "" if said.leader else "no leader", alarms.get(mine, "")]
    return MemberHealth(
        endpoint,
        reachable=True,
        leader=said.leader == mine,
        version=said.version,
        size_bytes=said.dbSize,
        problem="; ".join(text for text in problems if text),
    )
