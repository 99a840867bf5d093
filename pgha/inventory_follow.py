"""The nodes' `follow` tags as a whole: each names another node, none leads back to itself, and enough nodes have none.

May import `pgha.inventory_*` below it.
"""

from __future__ import annotations

from pgha.inventory_nodes import Nodes
from pgha.inventory_yaml import Report

LEAST = 2  # nodes without the tag


def check(report: Report, nodes: Nodes) -> None:
    """A finding at each node whose tag can't be."""
    tags = {spec.name: spec.follow for spec in nodes.specs() if spec.follow}
    for spot, spec in nodes.found:
        if spec.name not in tags:
            continue
        label, way = f"nodes.{spec.name}: follow", _way(tags, spec.name)
        if spec.follow not in nodes.names:
            names = ", ".join(sorted(nodes.names - {spec.name})) or "there is no other"
            report.add(spot, f"{label} names {spec.follow}, which is no node", f"nodes: {names}", "name one of them")
        elif way[-1] == spec.name:
            step = "take the tag from one of them"
            report.add(spot, f"{label} goes in a circle", f"{' follows '.join(way)}", step)
    plain = nodes.declared - len(tags)
    if tags and len(nodes.found) == nodes.declared and plain < LEAST:
        spot = next(spot for spot, spec in nodes.found if spec.name in tags)
        because = "who follows another node confirms no commit: the primary needs one that does"
        report.add(spot, f"all nodes but {plain} follow another", because, f"leave {LEAST} nodes without the tag")


def _way(tags: dict[str, str], name: str) -> list[str]:
    """Whom it follows, and so on, until there is no tag or one comes again."""
    way = [name]
    while way[-1] in tags and tags[way[-1]] not in way[1:]:
        way.append(tags[way[-1]])
        if way[-1] == name:
            break
    return way
