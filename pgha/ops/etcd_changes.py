"""etcd members of a cluster that runs already: one that has no data is let in, a stale one before it is taken out.

A member's number belongs to its data: who comes back with an empty directory under the same name is another member, and
has to be let in as one (etcd refuses it otherwise: it would have forgotten what it voted for). One after another, each
up before the next, so that the quorum never rests on two that are not there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from pgha.errors import RolledBack
from pgha.ops.etcd_members import existing_argv, peer_url
from pgha.ops.fleet import Fleet, Place
from pgha.ops.progress import Progress
from pgha.ports import Clock, StoreDown, StoreMember, StoreMembers

CHANGE_S = 20.0
LIST_S = 5.0
UP_S = 30.0
LOOK_S = 0.2


def let_in(
    fleet: Fleet,
    open_members: Callable[[], StoreMembers],
    clock: Clock,
    argvs: Mapping[str, list[str]],
    progress: Progress,
) -> None:
    """Members without data, where others have some. Nothing for a store that has not begun, or has no majority yet.

    Raises RolledBack with etcd's reason.
    """
    members = [node for node in fleet.ready.nodes if node.has_etcd]
    empty = [node for node in members if not fleet.has_member(node)]
    if len(empty) == len(members):
        return
    fleet.start_store({n.name: argvs[n.name] for n in members if n not in empty})
    store = open_members()
    try:
        listed = _listed(store, clock)
        if listed is None:
            return
        known = {url for m in listed for url in m.peer_urls}
        for node in members:
            if node not in empty and peer_url(argvs[node.name]) not in known:
                leaver = fleet.leaver(node)
                leaver.stop_member()
                leaver.put_member_away(f"former-{secrets.token_hex(3)}")
                empty.append(node)
        for node in empty:
            _let_in(fleet, store, clock, node, argvs[node.name], progress)
    finally:
        store.close()


def _listed(store: StoreMembers, clock: Clock) -> tuple[StoreMember, ...] | None:
    """None while there is no majority: the first bootstrap was interrupted, and its members begin as they were to."""
    try:
        return store.list(deadline_s=clock.now_s() + LIST_S)
    except StoreDown:
        return None


def _let_in(
    fleet: Fleet, store: StoreMembers, clock: Clock, node: Place, argv: Sequence[str], progress: Progress
) -> None:
    url = peer_url(argv)
    listed = store.list(deadline_s=clock.now_s() + LIST_S)
    mine = [m for m in listed if url in m.peer_urls or m.name == node.name]
    try:
        for stale in (m for m in mine if m.started):
            store.remove(stale.ident, deadline_s=clock.now_s() + CHANGE_S)
            progress.step(node.name, "its former etcd member is taken out: its data are gone")
        if not any(not m.started for m in mine):
            store.add(url, deadline_s=clock.now_s() + CHANGE_S)
        listed = store.list(deadline_s=clock.now_s() + LIST_S)
    except StoreDown as e:
        step = "correct it and run the same command again: it goes on from there"
        raise RolledBack(f"etcd does not let the member of {node.name} in", e.why, step) from e
    fleet.start_store({node.name: existing_argv(argv, node.name, listed)})
    end = clock.now_s() + UP_S
    while not any(m.started and m.name == node.name for m in _listed(store, clock) or ()):
        if clock.now_s() >= end:
            raise RolledBack(
                f"the new etcd member of {node.name} is not up after {UP_S:g} s", "", f"look into {fleet.logs(node)}"
            )
        clock.sleep(LOOK_S)
    progress.step(node.name, "etcd member let in")


def take_out(store: StoreMembers, clock: Clock, node: str, url: str) -> bool:
    """The member of this node; False when it is not listed any more. Raises RolledBack with etcd's reason."""
    try:
        for member in store.list(deadline_s=clock.now_s() + LIST_S):
            if url in member.peer_urls:
                store.remove(member.ident, deadline_s=clock.now_s() + CHANGE_S)
                return True
    except StoreDown as e:
        raise RolledBack(f"etcd does not let the member of {node} go", e.why, "the same command, once more") from e
    return False
