"""`pgha bootstrap --adopt`, the look: which servers run where, whether they can be taken over as they run, the plan.

Reads only; every finding of every node at once. May import core, pg, inventory and its neighbours in ops.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha.errors import PghaError, Refused
from pgha.host import Host, Identity
from pgha.inventory_postgres import ALLOWED, OWNED
from pgha.ops.fleet import Fleet, Place
from pgha.ops.together import raise_all
from pgha.pg import adopted, conf, parameters
from pgha.pg.adopted import PidFile, Runs

if TYPE_CHECKING:
    from pgha.inventory import Inventory

ASK_S = 15.0
SUPERUSER = "postgres"
SPARE_SENDERS = 2  # a clone takes two
KEPT = ("shared_preload_libraries", "archive_mode", "archive_command", "archive_library")
"""What a first start by pgha without them would break: the inventory has to name them."""
_AROUND = re.compile(r"lc_.*|.*_file|.*_directory|.*_directories|log_.*|logging_collector|event_source|cluster_name")
_AROUND_TOO = ("dynamic_shared_memory_type", "unix_socket_permissions", "unix_socket_group")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs in a node's data directory. born: in ticks since boot. bin_major: of the programs there."""

    node: str
    pid: PidFile
    born: int
    lies: Identity
    runs: Runs
    bin_major: int
    files: Mapping[str, str]

    @property
    def version(self) -> int:
        """The major one."""
        return self.runs.version // 10000


@dataclass(frozen=True, slots=True)
class Looked:
    """servers: by node; the other nodes are empty and will be cloned. imported: for the settings in the store."""

    servers: Mapping[str, Server]
    primary: str
    imported: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def lines(self, inventory: Inventory) -> list[str]:
        """What the operator reads before the question."""
        page = [f"plan: take over the running servers of {inventory.cluster}; none is stopped, none restarted"]
        for name, one in sorted(self.servers.items(), key=lambda pair: pair[0] != self.primary):
            role = "primary" if name == self.primary else "standby"
            at = f"timeline {one.runs.timeline}, pid {one.pid.pid}"
            page.append(f"  {name}: {role}, PostgreSQL {one.version}, {at}, {one.files['config_file']}")
            page += [f"    its {what} gets a block of pgha's" for what in ("configuration", "logins and map of users")]
        others = [spec.name for spec in inventory.nodes if spec.name not in self.servers]
        page += [f"  {name}: empty, is cloned from the primary" for name in others]
        names = ", ".join(f"{name}={value}" for name, value in sorted(self.imported.items()))
        page.append(f"  settings taken into the cluster's: {names or 'none differs from what is built in'}")
        page += [f"  note: {warning}" for warning in self.warnings]
        page.append("  until one restart of each (standbys, switchover, old primary) its fence is not armed")
        return page


def look(fleet: Fleet, inventory: Inventory) -> Looked:
    """All nodes. Raises Findings, or the only one: then nothing was changed."""
    servers: dict[str, Server] = {}
    problems: list[PghaError] = []

    def ask(node: Place) -> None:
        try:
            found = _server(fleet.host(node), node, fleet.ready.bin_dir)
        except PghaError as e:
            problems.append(e)
            return
        if found is not None:
            servers[node.name] = found

    fleet.each(ask)
    return judge(inventory, {n.name: n for n in fleet.ready.nodes}, servers, problems)


def _server(host: Host, node: Place, bin_dir: str) -> Server | None:
    """What runs there; None for an empty place. Raises Refused when it can't be asked."""
    if not host.holds_something(node.data_dir):
        return None
    try:
        at = adopted.pid_file_of(host.read(f"{node.data_dir}/postmaster.pid") or "")
        works_in = host.run(["readlink", f"/proc/{at.pid}/cwd"], timeout_s=ASK_S).out.strip()
        there = host.run(["readlink", "-f", node.data_dir], timeout_s=ASK_S).out.strip()
        if not at.ready or works_in != there:
            raise ValueError(f"process {at.pid} of postmaster.pid is no server that is ready there")
        stat = host.read(f"/proc/{at.pid}/stat") or ""
        born = int(stat.rsplit(")", 1)[1].split()[19])
    except (ValueError, IndexError) as e:
        step = "start it, or move the directory away: then it is cloned"
        raise Refused(f"{node.name}: {node.data_dir} holds data, and no server runs there", str(e), step) from e
    _no_patroni(host, node)
    if not at.socket_dir.startswith("/"):
        step = "set unix_socket_directories; it takes a restart of the server"
        raise Refused(f"{node.name}: the server has no Unix socket", "pgha asks it through one", step)
    ran = host.run(adopted.psql(bin_dir, at, SUPERUSER), timeout_s=ASK_S, stdin=adopted.FACTS)
    try:
        runs = adopted.facts_of(ran.out)
    except ValueError as e:
        why, step = (ran.tail() if not ran.ok else str(e)), f"let {host.user} in: local all {SUPERUSER} peer"
        raise Refused(f"{node.name}: the server can't be asked as {SUPERUSER}", why, step) from e
    said = host.run([f"{bin_dir}/postgres", "--version"], timeout_s=ASK_S).out
    major = re.search(r"\) (\d+)", said)
    files = {
        name: host.run(["readlink", "-f", runs.value(name)], timeout_s=ASK_S).out.strip()
        for name in ("config_file", "hba_file", "ident_file")
    }
    if files["config_file"].startswith(f"{node.state_dir}/"):
        why = f"it runs by {files['config_file']}"
        raise Refused(f"{node.name}: the server is pgha's already", why, "pgha bootstrap, without --adopt")
    problems = [*_places(host, node, files)]
    raise_all(problems)
    lies = host.identity(node.data_dir)
    return Server(node.name, at, born, lies, runs, int(major.group(1)) if major else 0, files)


def _no_patroni(host: Host, node: Place) -> None:
    """Two that decide about one server would be two writers. In pause Patroni ends without its server."""
    said = host.run(["ps", "-eo", "pid=,args="], timeout_s=ASK_S).out
    rows = [line.split() for line in said.splitlines()]
    mine = [row[0] for row in rows if len(row) > 1 and any(os.path.basename(word) == "patroni" for word in row[1:4])]
    if mine:
        why = f"process {', '.join(mine)}; only in pause its end leaves PostgreSQL running"
        step = "patronictl pause --wait, then on every node: systemctl disable --now patroni (docs/adopt.md)"
        raise Refused(f"{node.name}: Patroni is at work there", why, step)


def _places(host: Host, node: Place, files: Mapping[str, str]) -> Iterator[PghaError]:
    """Clones are made beside the data directory; a file is replaced by one that is written beside it."""
    for path in sorted({os.path.dirname(node.data_dir), *(os.path.dirname(file) for file in files.values())}):
        if not host.run(["test", "-w", path], timeout_s=ASK_S).ok:
            step = f"chown {host.user} {path}"
            yield Refused(f"{node.name}: {host.user} can't write in {path}", "pgha writes beside what lies there", step)


# -- the judgement ---------------------------------------------------------------------------------------------


def judge(
    inventory: Inventory, places: Mapping[str, Place], servers: Mapping[str, Server], problems: list[PghaError]
) -> Looked:
    """Pure. Raises Findings, or the only one."""
    found = list(problems)
    for name, one in sorted(servers.items()):
        found += _alone(inventory, places[name], one)
    found += _together(servers) if not problems else []
    primary = next((name for name, one in servers.items() if not one.runs.standby), "")
    spec = next((spec for spec in inventory.nodes if spec.name == primary), None)
    if spec is not None and spec.nofailover:
        found.append(Refused(f"{primary} runs as primary and is tagged nofailover", "", "drop the tag"))
    raise_all(found)
    runs = servers[primary].runs
    warnings = [*_warnings(inventory, primary, runs)]
    return Looked(dict(servers), primary, imported(inventory, runs), tuple(warnings))


def _alone(inventory: Inventory, node: Place, one: Server) -> Iterator[PghaError]:
    runs, where = one.runs, node.name
    need = len(inventory.nodes)

    def needs(what: str, why: str, step: str) -> Refused:
        return Refused(f"{where}: {what}", why, step)

    by_hand = "ALTER SYSTEM SET {}; then one restart of the server by hand, before pgha"
    if one.bin_major != one.version:
        yield needs(f"PostgreSQL {one.version} runs", f"the inventory's is {one.bin_major}", "correct postgres.version")
    if not runs.superuser:
        yield needs(f"{SUPERUSER} is no superuser", "pgha works as it", f"ALTER ROLE {SUPERUSER} SUPERUSER")
    if one.pid.port != node.port:
        step = f"write port: {one.pid.port} for {where}"
        yield needs(f"the server listens on port {one.pid.port}", f"the inventory says {node.port}", step)
    if not runs.checksums and runs.value("wal_log_hints") != "on":
        why = "neither data checksums nor wal_log_hints: nobody could be rewound"
        yield needs("wal_log_hints is off", why, by_hand.format("wal_log_hints = on"))
    for name, (accepted, why) in ALLOWED.items():
        value = runs.value(name)
        if value and value.lower() not in accepted:
            yield needs(f"{name} is {value}", why, by_hand.format(f"{name} = {accepted[0]}"))
    for name, least in (("max_wal_senders", need + SPARE_SENDERS), ("max_replication_slots", need)):
        if int(runs.value(name) or 0) < least:
            why = f"{need} nodes need {least}"
            yield needs(f"{name} is {runs.value(name)}", why, by_hand.format(f"{name} = 20"))
    if runs.value("recovery_target_timeline") != "latest" and runs.standby:
        yield needs("recovery_target_timeline is not latest", "", by_hand.format("recovery_target_timeline = latest"))
    if one.version < 14 and runs.standby and runs.value("restore_command"):
        step = "take restore_command out, and restart the standby by hand"
        yield needs("restore_command is set", "an archive moves a sealed standby", step)
    if need > 1 and not _listens(runs.value("listen_addresses"), node.host):
        step = by_hand.format("listen_addresses = '*'")
        yield needs(f"the server does not listen on {node.host}", runs.value("listen_addresses"), step)
    for name in KEPT:
        given = runs.settings.get(name)
        there = given is not None and given.changed and given.value not in ("", "off", "(disabled)")
        if given is not None and there and name not in inventory.postgres.parameters:
            step = f"write it under postgres.parameters in the inventory: {name}: ..."
            yield needs(f"{name} is {given.value}", "the store may not hold it; the inventory does not", step)
    for name in sorted({*conf.FIXED, *conf.DEFAULTS} - conf.AT_START):
        found = runs.settings.get(name)
        if found is not None and found.ordered:
            yield needs(f"{name} is set on the server's command line", "no file is read against it", "restart without")


def _listens(addresses: str, host: str) -> bool:
    words = {word.strip() for word in addresses.split(",")}
    everywhere = {"*", "0.0.0.0", "::"}  # noqa: S104  # what a server says of itself
    return bool(words & {*everywhere, host}) or ("localhost" in words and host in ("127.0.0.1", "::1"))


def _together(servers: Mapping[str, Server]) -> Iterator[PghaError]:
    primaries = sorted(name for name, one in servers.items() if not one.runs.standby)
    if len(primaries) != 1:
        what = f"{', '.join(primaries)} are all writable" if primaries else "no running primary was found"
        why = "one primary and its standbys are taken over"
        yield Refused(what, why, "look at nodes.NAME.data_dir; what is no copy of the primary gets another place")
        return
    first = servers[primaries[0]].runs
    for name, one in sorted(servers.items()):
        if one.runs.system != first.system:
            why = f"its system identifier is {one.runs.system}, that of {primaries[0]} {first.system}"
            yield Refused(f"{name} is no copy of {primaries[0]}", why, "move its data away: it is cloned")
        elif one.runs.timeline != first.timeline:
            why = f"it is on timeline {one.runs.timeline}, {primaries[0]} on {first.timeline}"
            yield Refused(f"{name} does not follow {primaries[0]}", why, "let it follow, or move its data away")
        elif one.runs.standby and not one.runs.source:
            yield Refused(f"{name} is a standby and streams from nobody", "", "let it follow, or move its data away")


def imported(inventory: Inventory, runs: Runs) -> dict[str, str]:
    """The primary's settings that the store may hold: what somebody gave, and the inventory does not."""
    return {
        name: one.value
        for name, one in sorted(runs.settings.items())
        if one.changed and parameters.taken({name: one.value}) and not _decided(inventory, name)
    }


def _decided(inventory: Inventory, name: str) -> bool:
    return name in OWNED or name in inventory.postgres.parameters or name.startswith("recovery_")


def _warnings(inventory: Inventory, primary: str, runs: Runs) -> Iterator[str]:
    rest = sorted(
        name
        for name, one in runs.settings.items()
        if one.changed and not parameters.is_allowed(name) and not _decided(inventory, name) and name not in KEPT
    )
    rest = [name for name in rest if not _AROUND.fullmatch(name) and name not in (*_AROUND_TOO, *conf.FIXED)]
    if rest:
        where = "write them under postgres.parameters where they are to hold after the restart"
        yield f"not taken over: {', '.join(rest)}; {where}"
    own = f"the {len(inventory.postgres.hba)} lines of postgres.hba" if inventory.postgres.hba else "pgha's own lines"
    yield f"pg_hba.conf of {primary} ({runs.rules} lines) holds until the restart, then {own}"
    if runs.value("synchronous_standby_names"):
        yield "synchronous_standby_names is pgha's from now on: commits are not confirmed by standbys for some seconds"
    if runs.slots:
        drop = "SELECT pg_drop_replication_slot('NAME') once the standbys stream"
        yield f"slots {', '.join(runs.slots)} hold WAL for nobody from now on, unless something else reads them: {drop}"
    yield f"clients of the socket in {runs.value('unix_socket_directories')}: after the restart it may lie elsewhere"
