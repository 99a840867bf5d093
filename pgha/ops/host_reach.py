"""What lies between hosts: each node tries the other nodes' ports, and the endpoints of an etcd that is not theirs.

May import errors, host values and the places on hosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pgha.errors import PghaError, Refused
from pgha.host import Remote
from pgha.ops.host_nodes import HostNode
from pgha.ops.host_preflight import Seen
from pgha.ops.together import outcomes

# Each target at once: open, refused (nobody listens: reachable), or no answer.
REACH = r"""
for t in "$@"; do
  ( said=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${t%:*}" "${t##*:}" 2>&1); printf '%s\t%s\t%s\n' "$t" "$?" \
    "$(printf %s "$said" | tr '\n\t' '  ')" ) &
done
wait
"""
REACH_S = 15.0


def unreachable(
    remotes: Mapping[str, Remote], seen: Mapping[str, Seen], endpoints: Sequence[str] = ()
) -> tuple[list[PghaError], list[str]]:
    """What is in the way, and what is only worth a word. endpoints: `host:port` of an existing etcd.

    Between nodes a port that gives no answer is in the way; refused means that nobody listens yet. Of somebody else's
    etcd a node must reach one endpoint; one member of it may be down.
    """

    def ask(name: str, one: Seen) -> tuple[list[PghaError], list[str]]:
        wanted = dict(_ports(name, seen))
        theirs = [endpoint.replace("[", "").replace("]", "") for endpoint in endpoints]
        root = remotes[name].as_user("root")
        ran = root.run(["sh", "-s", "--", *wanted, *theirs], timeout_s=REACH_S, stdin=REACH)
        said = dict(_answers(ran.out))
        here = one.node
        blocked: list[PghaError] = [*_blocked(here, wanted, said)]
        unreached = {target: said[target] for target in theirs if said.get(target)}
        why = "; ".join(f"{target}: {reason}" for target, reason in unreached.items())
        if unreached and len(unreached) == len(theirs):
            step = f"open the way from {here.host} to one of them, or correct etcd.endpoints"
            return [*blocked, Refused(f"{here.name} reaches no endpoint of the store", why, step)], []
        return blocked, [f"{here.name} does not reach all endpoints of the store: {why}"] if unreached else []

    problems: list[PghaError] = []
    warnings: list[str] = []
    for found in outcomes(seen, ask).values():
        if isinstance(found, PghaError):
            problems.append(found)
        else:
            problems += found[0]
            warnings += found[1]
    return problems, warnings


def _ports(name: str, seen: Mapping[str, Seen]) -> Iterator[tuple[str, tuple[HostNode, str]]]:
    """What the node of this name must reach: targets, each with whose it is and what for."""
    for other in seen.values():
        node = other.node
        if node.name == name:
            continue
        yield f"{node.host}:{node.port}", (node, "PostgreSQL")
        if node.has_etcd:
            yield f"{node.host}:{node.etcd_client_port}", (node, "etcd's clients")
            yield f"{node.host}:{node.etcd_peer_port}", (node, "etcd's members")


def _answers(said: str) -> Iterator[tuple[str, str]]:
    """Each target with why it could not be connected to; "" when it could."""
    for line in said.splitlines():
        target, _, rest = line.partition("\t")
        code, _, why = rest.partition("\t")
        reason = "no answer within 3 s" if code == "124" else why.rpartition(": ")[2].strip() or f"exit {code}"
        yield target, "" if code == "0" else reason


def _blocked(
    here: HostNode, wanted: Mapping[str, tuple[HostNode, str]], said: Mapping[str, str]
) -> Iterator[PghaError]:
    for target, (node, what) in wanted.items():
        reason = said.get(target, "")
        if not reason or "refused" in reason:
            continue
        port = target.rpartition(":")[2]
        rule = f"nft insert rule inet filter input ip saddr {here.host} tcp dport {port} accept"
        step = f"open it on {node.name}, for example: {rule}"
        yield Refused(f"{here.name} can't reach {target} of {node.name} ({what})", reason, step)
