"""The holder's followers as it sees them, and what that means for its voters. Pure; imports core alone."""

from __future__ import annotations

from pgha.core import chores, voters
from pgha.core.model import Copy, Leader, parse_standby_name
from pgha.core.observation import Observation

LAG_MAX = 16 * 1024 * 1024  # a switchover's target may be this many bytes behind
UNHEARD_S = 6.0  # by then wal_sender_timeout (5 s) has ended the walsender of a standby that is gone


def followers(obs: Observation) -> tuple[voters.Follower, ...]:
    """The walsenders that carry a name of ours; one that is there twice is not believed (redteam 9)."""
    names = [w.name for w in obs.server.walsenders]
    found = []
    for w in obs.server.walsenders:
        parsed = parse_standby_name(w.name)
        if parsed is None:
            continue
        copy, epoch = parsed
        streaming = w.state == "streaming" and names.count(w.name) == 1
        found.append(
            voters.Follower(
                copy=copy,
                epoch=epoch,
                streaming=streaming,
                flush=w.flush,
                sync_priority=w.sync_priority,
                silent_s=obs.silent_s.get(w.name, 0.0),
                caught_up=streaming and obs.server.position.lsn - w.flush <= LAG_MAX,
            )
        )
    return tuple(found)


def unheard(obs: Observation, since_s: float) -> frozenset[Copy]:
    """Who streams and has shown no reply since then: the standby is gone, or its walsender stands still. The latter
    would hold a shutdown for ever, even before its last checkpoint (xlog.c, ShutdownXLOG: WalSndWaitStopping).

    Its standby tries to come back meanwhile, under the same name: the one that stands still counts all the same.
    """
    silent = (w.name for w in obs.server.walsenders if w.state == "streaming" and w.name in obs.silent_s)
    parsed = (parse_standby_name(name) for name in silent if obs.silent_s[name] >= obs.now_s - since_s)
    return frozenset(found[0] for found in parsed if found is not None)


def hanging(obs: Observation, since_s: float) -> str:
    """Whose walsender stands still, since there is nothing that would have ended it; empty while that is not known.

    Commits that wait for a silent voter are not kept waiting for longer than the voter is kept.
    """
    leader = obs.store.leader if obs.store else None
    rule = leader.sync[-1] if leader is not None and leader.sync else None
    silent = unheard(obs, since_s)
    heard = {f.copy for f in followers(obs) if f.streaming} - silent
    held_up = rule is not None and len(rule.voters & heard) < rule.k
    patience_s = min(UNHEARD_S, obs.timing.voter_drop_s) if held_up else UNHEARD_S
    late = bool(silent) and obs.now_s - since_s > patience_s
    return _nodes(silent) if late else ""


def holding_up(obs: Observation) -> str:
    """Whose walsender stands still while a change of voters waits for it, and so does every commit: for good, since it
    will never show that it goes by another rule. Empty when there is none."""
    if obs.server.names != voters.barrier():
        return ""
    return _nodes(unheard(obs, obs.now_s - UNHEARD_S))


def _nodes(copies: frozenset[Copy]) -> str:
    return ", ".join(sorted({copy.node for copy in copies}))


def voter_view(obs: Observation) -> voters.VoterView | None:
    """The holder's view of its voters; None when this node does not hold the key."""
    leader = obs.store.leader if obs.store else None
    if obs.store is None or leader is None or obs.copy is None or leader.holder != obs.copy:
        return None
    marked = obs.mark[1] if obs.mark and obs.mark[0] == obs.server.names else None
    return voters.VoterView(
        me=obs.copy,
        epoch=leader.epoch,
        sync=leader.sync,
        names_now=obs.server.names,
        followers=followers(obs),
        missing_s=obs.missing_s,
        configured_copies=obs.store.settings.copies,
        drop_after_s=obs.timing.voter_drop_s,
        durability=obs.store.settings.durability,
        marked_lsn=marked,
        keep_out=_removed(obs, leader) | chores.kept_out(obs.store),
    )


def _removed(obs: Observation, leader: Leader) -> frozenset[Copy]:
    """Voters and followers whose node is no longer the cluster's: out of the rule first, then it may be stopped."""
    if not obs.nodes:
        return frozenset()
    known = {f.copy for f in followers(obs)}.union(*(rule.voters for rule in leader.sync))
    return frozenset(copy for copy in known if copy.node not in obs.nodes)
