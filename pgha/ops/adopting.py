"""`pgha bootstrap --adopt`, the work: running servers become the nodes of a new cluster without a restart.

Of each node first what its way back needs is written down, then its files change, then it is read back that they are in
force; a node where they are not is put back as it was. May import core, pg, records and its neighbours in ops.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from pgha.core import voters
from pgha.core.model import Copy, Leader, Position, Rule, Tenure, parse_lsn
from pgha.errors import Refused, RolledBack
from pgha.host import Host
from pgha.nodefile import NodeFile
from pgha.ops import founding, newdata
from pgha.ops.adoption import Looked, Server
from pgha.ops.bootstrap_run import Run
from pgha.ops.fleet import Place
from pgha.ops.giving_back import NOTE, put_back
from pgha.ops.node_files import node_file_of
from pgha.pg import adopted, conf, control

SQL_S = 30.0
READ_BACK_S = 10.0
REASON = "adoption of a running server"
# What a running server shows once it has read pgha's file; `primary_conninfo` only a standby is asked for.
_IN_FORCE = """SELECT current_setting('restart_after_crash'), current_setting('synchronous_standby_names'),
 current_setting('primary_conninfo');"""


def take(run: Run) -> None:
    """In place of the first data directory. Raises Refused, RolledBack, OutcomeUnknown."""
    looked = run.options.adopt
    assert looked is not None, "the CLI gives it"
    run.doing = "taking over the running servers"
    places = {node.name: node for node in run.ready.nodes}
    first = looked.servers[looked.primary]
    registered = founding.is_registered(run)
    if not registered:
        _must_be_strange(run, looked)
    copies = dict[str, tuple[Copy, str]]()
    for name in sorted(looked.servers, key=lambda n: n != looked.primary):
        if registered and run.fleet.host(places[name]).read(f"{places[name].state_dir}/{NOTE}") is not None:
            run.progress.step(name, "taken over already")
            continue
        copies[name] = _one(run, places[name], looked.servers[name], looked)
    founding.remember_others(run)
    if registered:
        return
    copy, incarnation = copies[looked.primary]
    forks = _forks(run, places[looked.primary], first)
    key = leader_of(first, copy, incarnation, forks, promises=run.inventory.ha.durability != "async")
    founding.register(run, key, first.runs.system, looked.imported)
    place = places[looked.primary]
    run.fleet.host(place).write(f"{place.data_dir}/standby.signal", "")  # a start outside pgha is read-only from now on


def _must_be_strange(run: Run, looked: Looked) -> None:
    """A store that does not know servers whose guards have them already has forgotten them. Raises Refused."""
    for node in run.ready.nodes:
        text = run.fleet.host(node).read(f"{node.state_dir}/{NOTE}")
        if node.name in looked.servers and text is not None and json.loads(text).get("guarded") is True:
            step = f"bring the old store back; if it is lost for good: {run.target.command('bootstrap --new-store')}"
            why = "the store has no cluster record"
            raise Refused(f"the server of {node.name} was taken over by an earlier run", why, step)


def leader_of(
    first: Server, copy: Copy, incarnation: str, forks: tuple[tuple[int, int], ...], *, promises: bool
) -> Leader:
    """The key held by the primary's guard, which is to begin with this incarnation. Its timeline is the epoch."""
    return Leader(
        holder=copy,
        incarnation=incarnation,
        epoch=first.runs.timeline,
        beat=1,
        tenure=Tenure.HELD,
        sync=(Rule(copy, frozenset(), 0),) if promises else (),
        position=Position(first.runs.timeline, parse_lsn(first.runs.lsn)),
        forks=forks[-32:],
        reason=REASON,
    )


def _forks(run: Run, node: Place, first: Server) -> tuple[tuple[int, int], ...]:
    timeline = first.runs.timeline
    if timeline == 1:
        return ()
    text = run.fleet.host(node).read(f"{node.data_dir}/pg_wal/{control.history_name(timeline)}")
    if text is None:
        why = "its history file is not in pg_wal, and where it was forked is not known"
        raise Refused(f"{node.name} is on timeline {timeline}", why, "copy it there from the archive")
    return control.parse_history(text)


def _one(run: Run, node: Place, server: Server, looked: Looked) -> tuple[Copy, str]:
    """Gives the copy's name and the incarnation of the guard that is to come."""
    host, file = run.fleet.host(node), node_file_of(run, node)
    note = _noted(host, node, server, primary=node.name == looked.primary)
    if node.name == looked.primary:
        _role(run, node, server)
    try:
        _put_files(host, node, file, server, looked)
        _read_back(run, node, server, file)
    except BaseException:
        put_back(host, node.data_dir, note)
        _sql(host, file.bin_dir, server, "SELECT pg_reload_conf();")
        raise
    if _real(host, server.pid.socket_dir) != _real(host, node.socket_dir):
        name = f".s.PGSQL.{node.port}"
        link = ["ln", "-sfn", "--", f"{server.pid.socket_dir}/{name}", f"{node.socket_dir}/{name}"]
        _must(host, link, f"{node.name}: no link to the server's socket")
    copy = Copy(node.name, secrets.token_hex(3))
    _remember(run, node, server, copy, primary=node.name == looked.primary)
    run.progress.step(node.name, f"taken over as it runs, pid {server.pid.pid}")
    return copy, str(note["incarnation"])


def _real(host: Host, path: str) -> str:
    return host.run(["readlink", "-f", path], timeout_s=SQL_S).out.strip()


def _noted(host: Host, node: Place, server: Server, *, primary: bool) -> Mapping[str, object]:
    """Durable before anything of the server's changes. An earlier try's is kept: it has seen the files as they were."""
    path = f"{node.state_dir}/{NOTE}"
    before = json.loads(host.read(path) or "{}")
    auto = f"{node.data_dir}/postgresql.auto.conf"
    note = {
        "schema": 1,
        "postmaster": server.pid.pid,
        "born": server.born,
        "device": server.lies.device,
        "inode": server.lies.inode,
        "incarnation": secrets.token_hex(8),
        "primary": primary,
        "guarded": False,
        "files": before.get("files") or {**server.files},
        "auto_conf": before["auto_conf"] if "auto_conf" in before else host.read(auto),
    }
    host.write(path, json.dumps(note))
    return note


def _role(run: Run, node: Place, server: Server) -> None:
    host = run.fleet.host(node)
    password = newdata.password_in(host.read(node.passfile), newdata.REPLICATION_USER)
    assert password is not None, "written by the step before"
    quiet = ["SET log_statement = none;", "SET log_min_error_statement = panic;"]
    lines = [*quiet, "BEGIN;", *newdata.role_sql(password, there=server.runs.role), "COMMIT;"]
    ran = host.run(
        adopted.psql(run.ready.bin_dir, server.pid, "postgres"), timeout_s=SQL_S, stdin="\n".join(lines) + "\n"
    )
    if not ran.ok:
        raise RolledBack(f"the role {newdata.REPLICATION_USER} could not be made", ran.tail(), "run it again")


def _put_files(host: Host, node: Place, file: NodeFile, server: Server, looked: Looked) -> None:
    """pgha's own first; what the server reads last: it may read its files at any moment."""
    state, at = node.state_dir, server.files
    host.write(f"{state}/{conf.PARAMETERS}", conf.parameters_conf(looked.imported))
    host.write(f"{state}/{conf.LIVE}", conf.live_conf(names="" if node.name == looked.primary else None))
    host.write(f"{state}/{conf.ADOPTED}", conf.main_conf(file, running=True))
    hba, ident, main = (host.read(at[name]) or "" for name in ("hba_file", "ident_file", "config_file"))
    host.write(at["ident_file"], adopted.with_map(ident, file, host.user), 0o640)
    host.write(at["hba_file"], adopted.with_logins(hba, file), 0o640)
    host.write(at["config_file"], adopted.with_include(main, file), 0o644)
    auto = f"{node.data_dir}/postgresql.auto.conf"
    text = host.read(auto) or ""
    ours = (*conf.FIXED, *conf.DEFAULTS, *looked.imported)
    live = ("primary_conninfo", "primary_slot_name", "synchronous_standby_names", "restore_command")
    host.write(auto, adopted.auto_conf(text, {*ours, *live} - conf.AT_START))


def _read_back(run: Run, node: Place, server: Server, file: NodeFile) -> None:
    """A reload, and then a new login by pgha's own lines shows pgha's settings."""
    host, clock = run.fleet.host(node), run.machine.clock
    names = "" if not server.runs.standby else None
    wanted = "off|" + (names if names is not None else voters.barrier()) + "|"
    _sql(host, file.bin_dir, server, "SELECT pg_reload_conf();")
    end, said = clock.now_s() + READ_BACK_S, ""
    while clock.now_s() < end:
        said = _sql(host, file.bin_dir, server, _IN_FORCE)
        if said == wanted:
            return
        clock.sleep(0.1)
    why = f"it shows {said!r}, expected {wanted!r}"
    step = "look into its log, and run the same command again"
    raise RolledBack(f"{node.name}: the server did not take pgha's settings; they are taken back", why, step)


def _sql(host: Host, bin_dir: str, server: Server, sql: str) -> str:
    return host.run(adopted.psql(bin_dir, server.pid, "postgres"), timeout_s=SQL_S, stdin=sql).out.strip()


def _must(host: Host, argv: list[str], what: str) -> None:
    ran = host.run(argv, timeout_s=SQL_S)
    if not ran.ok:
        raise RolledBack(what, ran.tail(), "correct it and run the same command again")


def _remember(run: Run, node: Place, server: Server, copy: Copy, *, primary: bool) -> None:
    """The primary runs under the epoch that its timeline is; a standby has sealed nothing yet."""
    lies, keep = server.lies, run.fleet.keep(node)
    system, timeline = server.runs.system, server.runs.timeline
    data = {"id": copy.data, "device": lies.device, "inode": lies.inode, "system": system, "made": lies.made}
    memory = {"schema": 1, "cluster": run.ready.marker.ident, "data": data}
    keep.save({**memory, "epoch": timeline, "claimed": timeline} if primary else memory)
