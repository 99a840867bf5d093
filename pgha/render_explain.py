"""The page of `pgha explain`, at most 80 columns, and its JSON. Words for what `ops.explain` has computed.

Sentences come from the rules and from the values of a situation; this file only joins them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from enum import Enum

from pgha.core import cover
from pgha.core.decide import Reason, Rule
from pgha.core.model import Copy
from pgha.core.situation import Bid, Store
from pgha.ops import advice
from pgha.ops.explain import SCHEMA_VERSION, Absent, Explained, Gap, NodeAnswer, Wanted
from pgha.render import age_text, clean

WIDTH = 80
INDENT = 12
AXIS_WORDS = {
    "store": "the store",
    "holder": "leader key",
    "server": "its server",
    "bid": "its seal",
    "path": "its position",
    "duty": "its duty",
    "budget": "its time",
}


def _wrapped(label: str, text: str, width: int, *, at: int = INDENT) -> list[str]:
    """`label`, then the text in lines of its own column."""
    first = f"{label:<{at}}"
    return textwrap.wrap(
        clean(text), width, initial_indent=first, subsequent_indent=" " * at, break_on_hyphens=False
    ) or [first.rstrip()]


def lines(found: Explained, width: int) -> list[str]:
    """The page."""
    width = max(40, min(width, WIDTH))
    page = _wrapped("", found.status.sentence(), width, at=0) + _wrapped("", found.answer, width, at=0)
    for note in found.notes:
        page += _wrapped("!", note, width, at=2)
    page += _gap(found.gap, width) if found.gap is not None else []
    for node in found.nodes:
        page += _node(node, found, width)
    more = advice.runbook(found.status.exit, found.status.verdict, found.status.rows)
    return [*page, *([f"more: {more}"] if more else []), *_next(found.next_step, width)]


def _next(step: str, width: int) -> list[str]:
    """A command in lines that can be pasted as they are."""
    words = textwrap.wrap(clean(step) or "nothing to do", width - 8, break_on_hyphens=False, break_long_words=False)
    marks = [*(" \\" for _ in words[1:]), ""]
    heads = ["next: ", *("      " for _ in words[1:])]
    return [head + text + mark for head, text, mark in zip(heads, words, marks, strict=True)]


# -- who is missing --------------------------------------------------------------------------------------------


def _names(copies: Iterable[object]) -> str:
    return ", ".join(str(c) for c in copies)


def _lack(lack: cover.Missing) -> str:
    """An entry of `sync` that is not covered: whose commits, and how many seals of how many."""
    rule = lack.rule
    holders = _names(c.node for c in lack.absent if c not in rule.voters)
    if not rule.voters:
        return f"commits of {rule.holder.node} that nobody else had to confirm: only the seal of {holders} will do"
    voters = _names(sorted(v.node for v in rule.voters))
    whose = f"commits of {rule.holder.node}, confirmed by {rule.k} of {voters}"
    return f"{whose}: {lack.have} of {lack.need} seals" + (f", or that of {holders}" if holders else "")


def _short_lack(lack: cover.Missing, gone: frozenset[Copy]) -> str:
    """The same in a line of conditions."""
    names = {c: f"{c} (gone)" if c in gone else c.node for c in lack.absent}
    voters = ", ".join(names[c] for c in lack.absent if c in lack.rule.voters)
    holders = ", ".join(names[c] for c in lack.absent if c not in lack.rule.voters)
    parts = [f"{lack.need - lack.have} more of {voters}"] if voters else []
    return ", or ".join(parts + ([f"that of {holders}"] if holders else []))


def _absent(who: Absent) -> str:
    where = f"last known at {who.position}" if who.position else "no position known"
    age = age_text(who.seen_s)
    heard = "never reported" if who.seen_s is None else f"reported {age} ago" if who.fresh else f"silent for {age}"
    if who.replaced_by:
        return f"that directory is gone: {who.copy.node} has {who.replaced_by} now"
    return f"{where}, {heard}; {'its seal would do' if who.enough else 'not enough alone'}"


def _gap(gap: Gap, width: int) -> list[str]:
    best = gap.best
    first = f"{best.copy.node} has sealed at {best.position}" if best else "no node that reports has sealed"
    barred = " and may not lead (nofailover)" if gap.barred else ""
    page = _wrapped("missing", f"{first}{barred}; without more seals an acknowledged commit could be lost", width)
    for lack in gap.lacks:
        page += _wrapped("", _lack(lack), width)
    for who in gap.absent:
        label = f"  {who.copy} "
        page += _wrapped(label, _absent(who), width, at=max(INDENT, len(label)))
    if gap.coming:
        names = f"{_names(c.node for c in gap.coming)} {'reports' if len(gap.coming) == 1 else 'report'}"
        page += _wrapped("", f"{names}, not sealed yet: with that nothing is missing", width)
    else:
        page += _wrapped("", "without them: pgha failover says what that would lose", width)
    return page


# -- one node --------------------------------------------------------------------------------------------------


def _node(node: NodeAnswer, found: Explained, width: int) -> list[str]:
    row = node.row
    through = (
        f" from {row.follows}" if row.state == "streaming" and row.follows not in ("", found.status.leader) else ""
    )
    words = [w for w in (row.role, f"{row.state}{through}") if w != "-"]
    words = list(dict.fromkeys(words)) + (["nofailover"] if node.nofailover else [])
    seen = "" if row.seen_s is None else f", seen {age_text(row.seen_s)} ago"
    page = _wrapped(f"{clean(row.node)} ", f"{', '.join(words)}{seen}", width, at=4)
    page += _says(node, width)
    if row.problem:
        page += _wrapped("  problem", row.problem, width)
    if node.rebuilt is None:
        return page
    page += _wrapped("  because", _because(node, found), width)
    headless = not found.status.leader
    if node.to_lead and node.to_lead.changes and (headless or found.one or not node.to_follow):
        page += _wrapped("  to lead", _to_lead(node, node.to_lead, found), width)
    if node.to_follow and node.to_follow.changes and (found.one or not headless):
        page += _wrapped("  to follow", _conditions(node.to_follow, found), width)
    if found.one:
        for reason in node.reasons:
            page += _else(reason, found, width)
    return page


def _says(node: NodeAnswer, width: int) -> list[str]:
    """What the node does, in its own rule's words; what core says instead, when that is another rule."""
    if node.row.seen_s is None:
        text = "its watchdog has not run, does not reach this store, or its data is of another cluster"
        return [] if node.row.state == "unknown" else _wrapped("  perhaps", text, width)
    rule = node.rebuilt.rule if node.rebuilt is not None else None
    if rule is not None and not node.published:
        return _wrapped("  does", f"{rule.sentence} ({rule.ident}), by the store's facts: it names no rule", width)
    said = f"{node.sentence} ({node.published.split('_', 1)[0]})" if node.sentence else ""
    if not said:
        said = f"{node.published} (a rule this version does not know)" if node.published else "no rule"
    page = _wrapped("  does" if node.fresh else "  said", said, width)
    if not node.fresh:
        page += _wrapped("", "what it does now nobody knows", width)
    elif rule is not None and node.differs:
        page += _wrapped("", f"that is its own word; the store's facts give: {rule.sentence} ({rule.ident})", width)
    elif rule is None:
        page += _wrapped("", "that is its own word: its state is not one this version knows", width)
    return page


def _value(axis: str, values: Iterable[Enum], found: Explained) -> str:
    """`leader key: it is released, or its holder has been silent for H (6 s)`."""
    text = ", or ".join(str(v.value) for v in values)
    text = text.replace("silent for H", f"silent for H ({found.failover_after_s:g}s)")
    return f"{AXIS_WORDS[axis]}{' ' if axis == 'store' else ': '}{text}"


def _because(node: NodeAnswer, found: Explained) -> str:
    word = node.rebuilt.word if node.rebuilt else ()
    shown = [r for r in node.reasons if r.value is not Store.FRESH] or list(node.reasons)
    return "; ".join(_value(r.axis, [r.value], found) + (" (its own word)" if r.axis in word else "") for r in shown)


def _conditions(wanted: Wanted, found: Explained) -> str:
    return "; ".join(_value(axis, values, found) for axis, values in wanted.changes)


def _to_lead(node: NodeAnswer, wanted: Wanted, found: Explained) -> str:
    if node.rebuilt is not None and node.rebuilt.situation.bid is Bid.BARRED and not node.nofailover:
        return "it lacks at most max_lag of the WAL known of, or an operator accepts what it lacks"
    parts = [_conditions(wanted, found)] + (["it is not tagged nofailover"] if node.nofailover else [])
    if node.lacks is not None and any(axis == "bid" for axis, _ in wanted.changes):
        lacks = [_short_lack(lack, found.gone) for lack in node.lacks]
        missing = "still missing" if node.sealed else "besides its own"
        enough = "nothing is missing" if node.sealed else "its own is enough"
        parts.append(f"{missing}: {'; '.join(lacks)}" if lacks else enough)
    return "; ".join(parts)


def _else(reason: Reason, found: Explained, width: int) -> list[str]:
    """The rule each other value would give, by rule."""
    by_rule: dict[Rule, list[Enum]] = {}
    for value, rule in reason.instead:
        by_rule.setdefault(rule, []).append(value)
    parts = [f"{', '.join(str(v.value) for v in values)} -> {_short(rule)}" for rule, values in by_rule.items()]
    word = AXIS_WORDS[reason.axis]
    text = "; ".join(parts).replace("silent for H", f"silent for H ({found.failover_after_s:g}s)")
    return _wrapped("  else", f"{word}: {text}", width)


def _short(rule: Rule) -> str:
    """`R620 seal`."""
    return rule.name.replace("_", " ", 1).replace("_", " ").lower().replace("r", "R", 1)


# -- JSON ------------------------------------------------------------------------------------------------------


def as_dict(found: Explained) -> dict[str, object]:
    """Stable names; `schema_version` rises when one changes its meaning. Values of axes and rules by name."""
    status = found.status
    return {
        "schema_version": SCHEMA_VERSION,
        "cluster": status.cluster,
        "verdict": status.verdict,
        "exit": int(found.exit),
        "epoch": status.epoch,
        "leader": status.leader or None,
        "answer": found.answer,
        "notes": list(found.notes),
        "missing": None if found.gap is None else _gap_dict(found.gap),
        "nodes": [_node_dict(node) for node in found.nodes],
        "next": found.next_step or None,
    }


def _gap_dict(gap: Gap) -> dict[str, object]:
    best = gap.best
    return {
        "may_lead": not gap.barred,
        "best": None if best is None else {"copy": str(best.copy), "position": str(best.position)},
        "coming": [str(c) for c in gap.coming],
        "rules": [_lack_dict(lack) for lack in gap.lacks],
        "absent": [
            {
                "copy": str(a.copy),
                "position": None if a.position is None else str(a.position),
                "seen_s": None if a.seen_s is None else round(a.seen_s, 1),
                "reports": a.fresh,
                "replaced_by": a.replaced_by or None,
                "enough": a.enough,
            }
            for a in gap.absent
        ],
    }


def _lack_dict(lack: cover.Missing) -> dict[str, object]:
    rule = lack.rule
    return {
        "holder": str(rule.holder),
        "k": rule.k,
        "voters": sorted(str(v) for v in rule.voters),
        "have": lack.have,
        "need": lack.need,
        "absent": [str(c) for c in lack.absent],
    }


def _node_dict(node: NodeAnswer) -> dict[str, object]:
    row, built = node.row, node.rebuilt
    return {
        "node": row.node,
        "role": row.role,
        "state": row.state,
        "seen_s": None if row.seen_s is None else round(row.seen_s, 1),
        "reports": node.fresh,
        "problem": row.problem,
        "says": {"rule": node.published, "sentence": node.sentence or None},
        "computed": None if built is None else {"rule": built.rule.name, "sentence": built.rule.sentence},
        "differs": node.differs,
        "own_word": [] if built is None else list(built.word),
        "because": [
            {
                "axis": r.axis,
                "value": r.value.name,
                "says": r.value.value,
                "instead": [{"value": v.name, "rule": rule.name} for v, rule in r.instead],
            }
            for r in node.reasons
        ],
        "to_lead": _wanted_dict(node.to_lead),
        "to_follow": _wanted_dict(node.to_follow),
        "lacks": None if node.lacks is None else [_lack_dict(lack) for lack in node.lacks],
    }


def _wanted_dict(wanted: Wanted | None) -> dict[str, list[str]] | None:
    return None if wanted is None else {axis: [v.name for v in values] for axis, values in wanted.changes}
