"""What bootstrap does on one host, as root: each step asks whether it is done, does it, and says what it did.

Everything goes through `host.Remote`; texts and places are `ops.host_nodes`'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pgha.errors import RolledBack
from pgha.host import Host, Ran, Remote
from pgha.ops import host_nodes as places
from pgha.ops.fleet import Marker, is_read, note_read
from pgha.ops.host_nodes import HostNode

COMMAND_S = 30.0
APT_S = 600.0
UNPACK_S = 180.0
START_S = 30.0
AGENT_TRIES = 75
AGENT_FILES = ("client.pem", "store-ca.pem", "store.pem")  # read once, when its first connection is made
APT = ("apt-get", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
NO_CLUSTER = "/etc/postgresql-common/createcluster.d/pgha.conf"
MASKED = ("postgresql.service", "etcd.service")  # the distribution would start servers of its own
# $1 its name, $2 chance. Unpacked beside, tried, then one rename and one link: a half one is never in the way.
UNPACK = r"""
set -eu; umask 022; opt=/opt/pgha; new=$opt/$1.$2.tmp
trap 'rm -rf -- "$new"' EXIT
python=$(command -v python3)
site=$new/lib/python$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')/site-packages
mkdir -p -- "$site" "$new/bin"
ln -s -- "$python" "$new/bin/python"
printf 'home = %s\ninclude-system-site-packages = false\n' "${python%/*}" >"$new/pyvenv.cfg"
tar -xzf - --no-same-owner -C "$site"
printf '#!%s/current/bin/python -I\nimport sys\nfrom pgha.__main__ import main\nsys.exit(main())\n' "$opt" \
  >"$new/bin/pgha"
chmod 0755 "$new/bin/pgha"
"$new/bin/python" -I -c 'import pgha.watchdog.agent_main, psycopg, etcd3.etcdrpc, grpc, typer'
[ -d "$site/pgha/__pycache__" ] || "$new/bin/python" -I -m compileall -q "$site" || true
rm -rf -- "$opt/$1"; mv -T -- "$new" "$opt/$1"
ln -s -- "$1" "$opt/current.$2.tmp"; mv -fT -- "$opt/current.$2.tmp" "$opt/current"
[ -e /usr/local/bin/pgha ] || [ -L /usr/local/bin/pgha ] || ln -s -- "$opt/current/bin/pgha" /usr/local/bin/pgha
sync -- "$opt/"; trap - EXIT
"""
INSTALLED = '[ "$(readlink /opt/pgha/current)" = "$1" ] && [ -x "/opt/pgha/$1/bin/pgha" ]'
APPEND = 'umask 077; cat >>"$1"'


# $1 the node file, $2 how often to look (5 a second); then files. Is the node's agent younger than each of them?
YOUNG = r"""
node=$1 tries=$2 hz=$(getconf CLK_TCK); shift 2
agent_cs() {
  for c in $(grep -laF pgha.watchdog.agent_main /proc/[0-9]*/cmdline 2>/dev/null); do
    tr '\0' '\n' <"$c" 2>/dev/null | grep -qxF -- "$node" || continue
    said=$(cat "${c%cmdline}stat" 2>/dev/null) || continue
    set -- ${said##*) }; shift 19
    now=$(date +%s%2N); up=$(cut -d' ' -f1 /proc/uptime)  # in this order: rather too old than too young
    echo $((now - ${up%.*}${up#*.} + $1 * 100 / hz)); return
  done
}
while :; do
  born=$(agent_cs); young=$born
  for f in "$@"; do
    at=$(stat -c %.2Y -- "$f" 2>/dev/null) || continue
    [ "${born:-0}" -gt $((${at%.*}${at#*.} + 2)) ] || young=
  done
  [ -z "$young" ] || exit 0
  tries=$((tries - 1)); [ "$tries" -gt 0 ] || exit 1
  sleep 0.2
done
"""


@dataclass(frozen=True, slots=True)
class Pack:
    """pgha and what it needs, for one kind of host: a compressed tar of site-packages, named by its content."""

    name: str
    data: bytes


def must(ran: Ran, what: str) -> Ran:
    """The result, when it is good. Raises RolledBack."""
    if not ran.ok:
        raise RolledBack(what, ran.tail(), "correct it and run the same command again: it goes on from there")
    return ran


class HostSteps:
    """One host. `who`: for the journal. stale: a watchdog that runs already has to be replaced."""

    def __init__(self, node: HostNode, remote: Remote, who: str) -> None:
        self.node, self.remote, self._who = node, remote, who
        self.root = remote.as_user("root")
        self.stale = False

    @property
    def user(self) -> Host:
        """As user postgres."""
        return self.remote.as_user(places.USER)

    def _run(self, what: str, *argv: str, timeout_s: float = COMMAND_S) -> Ran:
        return must(self.root.run(argv, timeout_s=timeout_s), f"{self.node.name} ({self.node.host}): {what}")

    def must_be_root(self) -> None:
        """Raises RolledBack when sudo asks, or is not allowed."""
        self._run(f"can't become root without a password as {self.remote.user}", "true")

    def journal(self, at_s: float, step: str, result: str) -> None:
        """One line into the host's journal."""
        line = json.dumps({"at": round(at_s, 3), "step": step, "result": result, "by": self._who}) + "\n"
        argv = ["sh", "-c", APPEND, "sh", self.node.journal_path]
        must(self.remote.send("root", argv, line.encode(), timeout_s=COMMAND_S), "the journal can't be written")

    def packages(self, names: Sequence[str]) -> str:
        """Those of the distribution, without its own cluster and services."""
        if not names:
            return "packages already there"
        if "etcd-server" in names or any(name.startswith("postgresql") for name in names):
            self.root.make_dir(NO_CLUSTER.rpartition("/")[0], 0o755)
            self.root.write(NO_CLUSTER, "# Written by pgha bootstrap.\ncreate_main_cluster = false\n", 0o644)
            self._run("the distribution's services can't be masked", "systemctl", "mask", *MASKED)
        self._run("apt-get update failed", *APT[:1], "-q", "update", timeout_s=APT_S)
        what = f"apt-get install {' '.join(names)} failed"
        self._run(what, *APT, "install", *names, timeout_s=APT_S)
        return f"installed {', '.join(names)}"

    def python(self) -> str:
        """The version of python3."""
        said = self._run("python3 does not run", "python3", "-I", "-c", "import sys; print(sys.version.split()[0])")
        return said.out.strip()

    def accounts(self) -> str:
        """etcd's own; postgres comes with PostgreSQL."""
        if not self.node.has_etcd or self.root.run(["getent", "passwd", places.ETCD_USER], timeout_s=COMMAND_S).ok:
            return "accounts already there"
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", places.ETCD_LIB]
        self._run("useradd failed", "useradd", *options, "--shell", "/usr/sbin/nologin", places.ETCD_USER)
        return f"account {places.ETCD_USER} made"

    def directories(self, marker: Marker) -> str:
        """Then the marker: from here on they are ours."""
        node, user, etcd = self.node, places.USER, places.ETCD_USER
        self._install(0o755, "root", places.ETC, places.LIB, places.OPT)
        self._install(0o755, user, node.dir)
        parent = node.data_dir.rpartition("/")[0]
        if parent != node.dir:
            self._install(0o755, user, parent)
        self._install(0o700, user, node.state_dir)
        if node.has_etcd:
            self._install(0o755, "root", places.ETCD_LIB)
            self._install(0o700, etcd, node.etcd_dir)
        if self.root.read(node.marker_path) == marker.text():
            return f"directories under {node.dir} already there"
        self.user.write(node.marker_path, marker.text(), 0o644)
        return f"directories under {node.dir}"

    def _install(self, mode: int, owner: str, *paths: str) -> None:
        argv = ["install", "-d", "-m", f"{mode:04o}", "-o", owner, "-g", owner, "--", *paths]
        self._run(f"{paths[0]} can't be made", *argv)

    def pgha(self, pack: Pack, chance: str) -> str:
        """Its own environment, switched to by one link; earlier ones stay for the way back."""
        if self.root.run(["sh", "-c", INSTALLED, "sh", pack.name], timeout_s=COMMAND_S).ok:
            return f"pgha {pack.name} already there"
        self.root.make_dir(places.OPT, 0o755)
        argv = ["sh", "-c", UNPACK, "sh", pack.name, chance]
        ran = self.remote.send("root", argv, pack.data, timeout_s=UNPACK_S)
        must(ran, f"{self.node.name}: pgha can't be installed")
        self.stale = True
        return f"pgha {pack.name} installed ({len(pack.data) >> 20} MB)"

    def put(self, path: str, text: str) -> bool:
        """A file of root's that everybody may read; False when it was that already."""
        if self.root.read(path) == text:
            return False
        self.root.write(path, text, 0o644)
        return True

    def give(self, path: str, text: str, user: str) -> None:
        """A secret of a user's in a directory of root's: never readable by others."""
        self.root.write(path, text)
        self._run(f"{path} can't be given to {user}", "chown", f"{user}:", "--", path)

    def is_active(self, unit: str) -> bool:
        """systemd has it running."""
        return self.root.run(["systemctl", "is-active", "--quiet", unit], timeout_s=COMMAND_S).ok

    def unit(self, name: str, text: str, *, restart: bool) -> str:
        """Written, enabled, running. restart: when its text has changed."""
        changed = self.put(f"{places.UNITS}/{name}", text)
        if changed:
            self._run("systemctl daemon-reload failed", "systemctl", "daemon-reload")
        was = self.is_active(name)
        if was and not changed:
            return f"{name} already running"
        verbs = ["restart"] if was and restart else ["start"]
        self._run(f"{name} can't be enabled", "systemctl", "--quiet", "enable", name)
        self._run(f"{name} does not start", "systemctl", *verbs, name)
        return f"{name} " + ("restarted" if verbs == ["restart"] else "started")

    def is_running(self) -> bool:
        """Somebody holds the watchdog's lock."""
        lock = f"{self.node.state_dir}/watchdog.lock"
        return self.user.run(["flock", "-n", "-E", "75", lock, "true"], timeout_s=COMMAND_S).code == 75

    def has_young_agent(self, tries: int = 1) -> bool:
        """The node's agent has read its program and all its files as they are now; looked at so often, 0.2 s apart."""
        node = self.node
        files = [node.node_file_path, f"{places.OPT}/current", *(node.tls(n) for n in ("ca.pem", *AGENT_FILES))]
        argv = ["sh", "-s", "--", node.node_file_path, str(tries), *files]
        return self.root.run(argv, timeout_s=COMMAND_S, stdin=YOUNG).ok

    def watchdog(self, supervisor: str) -> str:
        """What restarts it, then the first start. One that runs by another pgha, node file or certificate than is there
        now is stale from here on."""
        node, runs = self.node, self.is_running()
        text = self.root.read(node.node_file_path) or ""
        said = self._supervised() if supervisor == "systemd" else self._by_cron()
        self.stale = runs and (self.stale or not is_read(self.user, node, text) or not self.has_young_agent())
        if not self.stale:
            note_read(self.user, node, text)
        return said

    def takes_writes(self, bin_dir: str) -> bool:
        """Its server runs, and not as a standby."""
        node = self.node
        argv = [f"{bin_dir}/psql", "-XqAt", "-h", node.socket_dir, "-p", str(node.port), "-d", "postgres"]
        said = self.user.run([*argv, "-c", "SELECT pg_is_in_recovery()"], timeout_s=COMMAND_S)
        return said.ok and said.out.strip() == "f"

    def replace_watchdog(self) -> str:
        """The guard goes on as the program that is installed now, its agent with the files that are there now."""
        node = self.node
        text = self.root.read(node.node_file_path) or ""
        must(
            self.user.run([*node.watchdog_argv(), "--restart"], timeout_s=START_S),
            f"{node.name}: the watchdog can't be replaced",
        )
        if not self.has_young_agent(AGENT_TRIES):
            because, step = "its new agent did not come up", f"look into {node.state_dir}/watchdog.log"
            raise RolledBack(f"{node.name}: the watchdog is not replaced", because, step)
        self.stale = False
        note_read(self.user, node, text)
        return "watchdog replaced by one that has read this version and node file"

    def _supervised(self) -> str:
        self._run("the cron lines can't be removed", "rm", "-f", "--", self.node.cron_path)
        return self.unit(self.node.unit, places.service_unit(self.node), restart=False)

    def _by_cron(self) -> str:
        node = self.node
        self.unit(node.unit, places.stop_unit(node), restart=False)
        changed = self.put(node.cron_path, places.cron_text(node))
        if self.is_running():
            return "watchdog already running" + ("; cron lines written" if changed else "")
        self._run("the watchdog does not start", *places.first_start_argv(node), timeout_s=START_S)
        return "cron lines written, watchdog started" if changed else "watchdog started"
