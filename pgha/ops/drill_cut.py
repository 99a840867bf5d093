"""The rules of a drill's cuts, as text for nft(8). Pure.

A table of the drill's own, by the cluster's name, that lies before all others; deleting it takes the cut back whole.
"""

from __future__ import annotations

from collections.abc import Sequence


def table(cluster: str) -> str:
    """Its name: nft knows no hyphen there."""
    return f"pgha_drill_{cluster.replace('-', '_')}"


def no_cut(cluster: str) -> str:
    """Deletes it, also when it is not there."""
    return f"add table inet {table(cluster)}\ndelete table inet {table(cluster)}\n"


def _rules(cluster: str, incoming: Sequence[str], outgoing: Sequence[str]) -> str:
    chains = []
    for hook, rules in (("input", incoming), ("output", outgoing)):
        head = f"type filter hook {hook} priority -300; policy accept;"
        chains.append(f"  chain {hook} {{\n    {head}\n" + "".join(f"    {rule}\n" for rule in rules) + "  }\n")
    return no_cut(cluster) + f"table inet {table(cluster)} {{\n{''.join(chains)}}}\n"


def cut_store(cluster: str, ports: Sequence[int]) -> str:
    """This host as a client reaches no member of the store, its own included; as a member it goes on.

    Raises ValueError without ports.
    """
    if not ports:
        raise ValueError("no port of the store is known")
    listed = ", ".join(str(port) for port in sorted(set(ports)))
    return _rules(cluster, [f"tcp sport {{ {listed} }} drop"], [f"tcp dport {{ {listed} }} drop"])


def cut_node(cluster: str, ssh_port: int) -> str:
    """Everything but loopback, SSH to this host, and what IPv6 needs to find its neighbours (RFC 4861)."""
    neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    return _rules(
        cluster,
        ['iif "lo" accept', f"tcp dport {ssh_port} accept", neighbours, "drop"],
        ['oif "lo" accept', f"tcp sport {ssh_port} accept", neighbours, "drop"],
    )
