"""The pages of `pgha config show` and `config history`, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pgha.core.model import Settings
from pgha.ops import settings
from pgha.ops.rows import Seen
from pgha.ops.settings import Acknowledged
from pgha.ops.target import Target
from pgha.render import clean
from pgha.render_history import when_text

SCHEMA_VERSION = 1
Pending = Mapping[str, Mapping[str, tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Shown:
    """The settings of a cluster, what its nodes make of them, and what waits for a restart: node, name, both values."""

    cluster: str
    settings: Settings
    nodes: Acknowledged
    pending: Pending


def shown(target: Target, seen: Seen) -> Shown:
    """From one look. Raises StoreUnreachable, Refused."""
    found = settings.current(target, seen)
    pending = {name: dict(m.pending) for name, m in sorted(seen.records.members.items()) if m.pending}
    return Shown(target.cluster, found, settings.acknowledged(target, seen, found.revision), pending)


def show_lines(one: Shown, width: int) -> list[str]:
    """In the form in which `set` takes them; where there is no room, what they mean stands above them."""
    pairs = [(f"{s.name}={s.text(one.settings)}", _meaning(s)) for s in settings.SETTINGS]
    pairs += [(clean(f"{name}={value}"), "PostgreSQL") for name, value in one.settings.parameters.items()]
    size = max(len(text) for text, _ in pairs)
    if all(size + 4 + len(meaning) <= width for _, meaning in pairs):
        page = [f"{text.ljust(size)}  # {meaning}" for text, meaning in pairs]
    else:
        page = [line for text, meaning in pairs for line in (f"# {meaning}", text)]
    return page + [clean(line) for line in settings.node_lines(one.nodes, one.settings, one.pending)]


def _meaning(setting: settings.Setting) -> str:
    return setting.meaning + (" (fixed)" if setting.fixed else "")


def show_dict(one: Shown) -> dict[str, object]:
    """Stable names."""
    found = one.settings
    return {
        "schema_version": SCHEMA_VERSION,
        "cluster": one.cluster,
        "revision": found.revision,
        "settings": {setting.name: setting.text(found) for setting in settings.SETTINGS},
        "parameters": dict(found.parameters),
        "asked_by": found.asked_by,
        "at": found.at,
        "reason": found.reason,
        "nodes": {
            "in_force": list(one.nodes.done),
            "behind": dict(one.nodes.behind),
            "silent": list(one.nodes.silent),
        },
        "pending_restart": {n: {p: list(pair) for p, pair in waits.items()} for n, waits in one.pending.items()},
    }


Revision = tuple[Settings, tuple[settings.Change, ...]]


def revisions(found: Sequence[Settings]) -> list[Revision]:
    """Each with what it changed, oldest first as given."""
    changes = [(), *(settings.differences(a, b) for a, b in pairwise(found))]
    return list(zip(found, changes, strict=True))


def history_lines(cluster: str, found: Sequence[Revision]) -> list[str]:
    """Newest first: who, when, why, and the difference."""
    if not found:
        return [f"{clean(cluster)}: no settings are recorded"]
    page = [f"{clean(cluster)}: {len(found)} revision{'' if len(found) == 1 else 's'} kept, newest first"]
    for one, changes in reversed(found):
        when = f"{when_text(one.at)} UTC" if one.at else "-"
        page.append(
            clean(f"{one.revision:>4}  {when}  {one.asked_by or '-'}" + (f"  {one.reason}" if one.reason else ""))
        )
        page += [
            clean(f"      {c.name}: {c.before or settings.DEFAULT} -> {c.after or settings.DEFAULT}") for c in changes
        ]
    return page


def history_dict(cluster: str, found: Sequence[Revision]) -> dict[str, object]:
    """Stable names, oldest first."""
    return {
        "schema_version": SCHEMA_VERSION,
        "cluster": cluster,
        "revisions": [
            {
                "revision": one.revision,
                "at": one.at,
                "asked_by": one.asked_by,
                "reason": one.reason,
                "changes": {c.name: {"before": c.before, "after": c.after} for c in changes},
            }
            for one, changes in found
        ],
    }
