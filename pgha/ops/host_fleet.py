"""Bootstrap's nodes on hosts of their own, reached over SSH: `fleet.Fleet` on `host.Remote`.

Hosts are worked on at once, one thread each. The hosts are the truth: whatever an earlier run did is looked for there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha import host_facts, nodefile
from pgha.errors import PghaError, Refused, RolledBack
from pgha.host import Host, Remote
from pgha.ops import host_nodes, host_preflight, host_reach, host_secure
from pgha.ops import host_nodes as places
from pgha.ops.fleet import Marker, Place, Ready, new_marker, parse_marker
from pgha.ops.host_leaving import HostLeaver
from pgha.ops.host_nodes import HostNode, node_of
from pgha.ops.host_preflight import Seen, Verdict
from pgha.ops.host_secure import Authority
from pgha.ops.host_steps import HostSteps, Pack
from pgha.ops.leaving import Leaver
from pgha.ops.progress import Progress
from pgha.ops.store_login import Login
from pgha.ops.target import LOGIN_FILE, STORE_USER
from pgha.ops.together import each, outcomes, raise_all
from pgha.ports import Keep

if TYPE_CHECKING:
    from pgha.inventory import Inventory

FACTS_S = 30.0
SUDOERS = "echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pgha && chmod 0440 /etc/sudoers.d/pgha"


@dataclass(frozen=True, slots=True)
class Distant:
    """The way to hosts. connect: by address; keep: a node's memory there; pack: pgha for a Python version and machine.

    wall_s: this machine's wall clock; who: for the hosts' journals. store_files: what an existing store is reached
    with, by the names the nodes keep it under (`ops.target`); raises PghaError for what can't be read.
    """

    connect: Callable[[str], Remote]
    keep: Callable[[Host, str], Keep]
    pack: Callable[[str, str], Pack]
    authority: Authority
    wall_s: Callable[[], float]
    who: str
    store_files: Callable[[], Mapping[str, str]] = dict


def look(node: HostNode, remote: Remote, inventory: Inventory, wall_s: Callable[[], float]) -> Seen:
    """The host's facts and marker. Raises Refused when sudo, or the login's shell, does not let us look."""
    root, where = remote.as_user("root"), f"{node.name} ({node.host})"
    tried = root.run(["printf", "%s", "pgha"], timeout_s=FACTS_S)
    if not tried.ok:
        why = f"sudo as {remote.user}: {tried.tail()}"
        step = f"as root there: {SUDOERS.format(user=remote.user)}"
        raise Refused(f"{where}: can't become root without a password", why, step)
    if tried.out != "pgha":
        step = f"let the login shell of {remote.user} print nothing when it has no terminal"
        raise Refused(f"{where}: the login shell talks", f"before our output came {tried.out[:60]!r}", step)
    paths = [node.data_dir, node.dir, node.etcd_dir, node.node_file_path, node.cron_path]
    argv = host_facts.argv(inventory.postgres.bin_dir or "", inventory.etcd.bin_dir or "", paths)
    before_s = wall_s()
    ran = root.run(argv, timeout_s=FACTS_S, stdin=host_facts.SCRIPT)
    middle_s = (before_s + wall_s()) / 2
    try:
        facts = host_facts.parse(ran.out)
    except (ValueError, KeyError) as e:
        raise Refused(f"{where}: its answer is not understood", str(e), f"ssh {node.host} sh") from e
    return Seen(node, facts, _marker(node, root), facts.clock_s - middle_s)


def _marker(node: HostNode, root: Host) -> Marker | None:
    text = root.read(node.marker_path)
    if text is None:
        return None
    try:
        marker = parse_marker(text)
    except (ValueError, KeyError, TypeError) as e:
        raise Refused(f"{node.name}: {node.marker_path} is not a marker of pgha", str(e), "look at it there") from e
    if marker.cluster != node.cluster:
        raise Refused(f"{node.name}: {node.dir} belongs to cluster {marker.cluster}")
    return marker


def look_at_all(
    inventory: Inventory, distant: Distant, progress: Progress
) -> tuple[dict[str, Remote], dict[str, Seen], list[PghaError]]:
    """Connections and facts of the hosts that could be asked, and what kept the others from it."""
    nodes = {spec.name: node_of(inventory, spec) for spec in inventory.nodes}
    remotes: dict[str, Remote] = {}

    def ask(name: str, node: HostNode) -> Seen:
        remotes[name] = distant.connect(node.host)
        return look(node, remotes[name], inventory, distant.wall_s)

    progress.step("", f"looking at {len(nodes)} hosts", done=False)
    found = outcomes(nodes, ask)
    problems = [e for e in found.values() if isinstance(e, PghaError)]
    return remotes, {name: seen for name, seen in found.items() if isinstance(seen, Seen)}, problems


class HostFleet:
    """See `fleet.Fleet`. Made by `look`."""

    def __init__(
        self,
        inventory: Inventory,
        distant: Distant,
        remotes: Mapping[str, Remote],
        seen: Mapping[str, Seen],
        verdict: Verdict,
        progress: Progress,
    ) -> None:
        self._inventory, self._distant, self._progress = inventory, distant, progress
        self.seen, self.verdict, self._remotes = seen, verdict, remotes
        self.nodes = {name: one.node for name, one in seen.items()}
        self._offering_first = False
        self._secrets: host_secure.Secrets | None = None
        self._steps = {name: HostSteps(node, remotes[name], distant.who) for name, node in self.nodes.items()}
        marker = next((one.marker for one in seen.values() if one.marker), None)
        self.ready = Ready(
            nodes=tuple(self.nodes.values()),
            bin_dir=verdict.bin_dir,
            etcd=verdict.etcd,
            marker=marker or new_marker(inventory.cluster, demo=False),
            fresh=marker is None,
            warnings=verdict.warnings,
        )

    @classmethod
    def look(cls, inventory: Inventory, distant: Distant, progress: Progress, *, adopt: bool = False) -> HostFleet:
        """Past preflight. Raises Findings (or the only problem) with everything that is in the way on all hosts."""
        remotes, seen, problems = look_at_all(inventory, distant, progress)
        verdict = host_preflight.judge(inventory, seen, adopt=adopt)
        between, unsure = host_reach.unreachable(remotes, seen, inventory.etcd.endpoints)
        verdict = replace(verdict, warnings=(*verdict.warnings, *unsure))
        try:
            distant.store_files()
        except PghaError as e:
            problems.append(e)
        raise_all([*problems, *verdict.problems, *between])
        return cls(inventory, distant, remotes, seen, verdict, progress)

    def plan(self) -> list[str]:
        """What will be done, for the operator's yes."""
        lines = []
        for name, one in self.seen.items():
            parts = [f"install {', '.join(lacks)}"] if (lacks := self.verdict.missing[name]) else []
            parts += [] if one.marker else ["accounts, directories, pgha"]
            parts += ["an etcd member"] if one.node.has_etcd and not one.marker else []
            parts += [f"PostgreSQL {self.verdict.version} on port {one.node.port}"] if not one.marker else []
            what = "; ".join(parts) if parts else "has this cluster already: complete what is missing"
            lines.append(f"  {name:<8} {one.node.host:<15} {one.facts.system}: {what}")
        supervisor = "cron and a unit that stops it in order" if self._inventory.supervisor == "cron" else "systemd"
        return [f"plan: cluster {self._inventory.cluster}, kept alive by {supervisor}", *lines]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A lock on each host, let go when we, or the connection, are gone."""
        with ExitStack() as held:
            for name in sorted(self._steps):
                root = self._steps[name].root
                root.make_dir(places.LIB, 0o755)
                held.enter_context(root.hold(places.LIB))
            yield

    def _step(self, name: str, what: str, do: Callable[[], str]) -> None:
        """Do it, tell it, note it in the host's journal."""
        steps = self._steps[name]
        try:
            said = do()
        except RolledBack as e:
            steps.journal(self._distant.wall_s(), what, f"failed: {e.what}: {e.because}")
            raise
        if "already" not in said:
            steps.journal(self._distant.wall_s(), what, said)
        self._progress.step(name, said)

    def _everywhere(self, work: Callable[[str, HostSteps], None]) -> None:
        each(self._steps, work)

    def lay_out(self) -> None:
        """Packages, accounts, directories with the marker, pgha."""
        marker = self.ready.marker

        def first(name: str, steps: HostSteps) -> None:
            lacks = self.verdict.missing[name]
            if lacks:
                self._progress.step(name, f"installing {', '.join(lacks)}", done=False)
            self._step(name, "packages", lambda: steps.packages(lacks))
            self._step(name, "accounts", steps.accounts)
            self._step(name, "directories", lambda: steps.directories(marker))

        self._everywhere(first)
        packs: dict[tuple[str, str], Pack] = {}
        kinds = {name: (steps.python(), self.seen[name].facts.arch) for name, steps in self._steps.items()}
        for kind in kinds.values():
            if kind not in packs:
                packs[kind] = self._distant.pack(*kind)

        def second(name: str, steps: HostSteps) -> None:
            self._step(name, "pgha", lambda: steps.pgha(packs[kinds[name]], secrets.token_hex(6)))

        self._everywhere(second)
        self._certificates()

    def _certificates(self) -> None:
        how, given = self._distant.authority, self._distant.store_files()
        secrets = host_secure.gathered(self._steps, how, given, own_store=bool(self.ready.etcd))
        self._everywhere(
            lambda name, steps: self._step(name, "certificates", lambda: host_secure.put(steps, secrets, how))
        )
        self._secrets = secrets
        self._offering_first = any(host_secure.is_without_tls(steps) for steps in self._steps.values())

    def login(self) -> Login | None:
        """Of the cluster's own etcd."""
        secrets, inventory = self._secrets, self._inventory
        if secrets is None or not secrets.root_password:
            return None
        user = inventory.etcd.user or STORE_USER
        return Login(inventory.cluster, user, secrets.store[LOGIN_FILE], secrets.root_password)

    def server_tls(self, node: Place) -> nodefile.ServerTls | None:
        """By certificates of the cluster's authority; where none were laid out now, as the node has it."""
        if self._secrets is None:
            return host_secure.present_tls(self._steps[node.name])
        return host_secure.server_tls(self.nodes[node.name], required=not self._offering_first)

    def tighten(self) -> bool:
        """Once every server offers TLS it may be asked for."""
        if not self._offering_first:
            return False
        bin_dir = self.ready.bin_dir
        self._everywhere(lambda _name, steps: host_secure.await_offer(steps, bin_dir))
        self._offering_first = False
        return True

    def host(self, node: Place) -> Host:
        """As user postgres there."""
        return self._steps[node.name].user

    def keep(self, node: Place) -> Keep:
        """In its state directory."""
        return self._distant.keep(self.host(node), f"{node.state_dir}/memory.json")

    def each(self, work: Callable[[Place], None]) -> None:
        """At once."""
        each(self.nodes, lambda _name, node: work(node))

    def node_file(self, node: Place) -> str | None:
        """Root's, in /etc/pgha."""
        return self._steps[node.name].root.read(self.nodes[node.name].node_file_path)

    def put_node_file(self, node: Place, text: str) -> bool:
        """Root's, in /etc/pgha."""
        steps = self._steps[node.name]
        changed = steps.put(self.nodes[node.name].node_file_path, text)
        steps.stale = steps.stale or changed
        return changed

    def member_tls(self, node: Place) -> Mapping[str, str] | None:
        """Certificates for members and clients."""
        return host_secure.member_options(self.nodes[node.name])

    def has_member(self, node: Place) -> bool:
        """Asked as root: the directory is its user's."""
        return self._steps[node.name].root.holds_something(f"{node.etcd_dir}/member")

    def leaver(self, node: Place) -> Leaver:
        """By root's commands."""
        return HostLeaver(self._steps[node.name], self._progress, self._distant.wall_s)

    def start_store(self, argvs: Mapping[str, list[str]]) -> None:
        """A unit for each member; how a member began is of no interest once it has data."""

        def one(name: str, steps: HostSteps) -> None:
            if name in argvs:
                text = host_nodes.etcd_unit(steps.node, argvs[name])
                there = steps.root.read(f"{host_nodes.UNITS}/{steps.node.etcd_unit}") or ""
                if host_nodes.is_same_member(there, text) and self.has_member(steps.node):
                    text = there
                self._step(name, "etcd", lambda: steps.unit(steps.node.etcd_unit, text, restart=True))

        self._everywhere(one)

    def start(self) -> None:
        """Cron lines and the stop unit, or the service; then the first start. What runs by older files is replaced."""
        supervisor = self._inventory.supervisor
        self._everywhere(lambda name, steps: self._step(name, "watchdog", lambda: steps.watchdog(supervisor)))
        self._replace_stale()

    def _replace_stale(self) -> None:
        """One after another, the primary's last: nobody renews a lease while an agent starts, the slower the more start
        at once; and what does not come up on a standby is not tried on the primary."""
        stale = [name for name, steps in sorted(self._steps.items()) if steps.stale]
        for name in sorted(stale, key=lambda name: self._steps[name].takes_writes(self.ready.bin_dir)):
            self._step(name, "watchdog", self._steps[name].replace_watchdog)

    def logs(self, node: Place) -> str:
        """By commands on the host."""
        own = self.nodes[node.name]
        return f"on {own.host}: {own.state_dir}/watchdog.log, and journalctl -u {own.etcd_unit}"

    def close(self) -> None:
        """End the connections."""
        for remote in self._remotes.values():
            remote.close()
