"""PostgreSQL's packages on a host reached over SSH: what is there, what apt offers, and how it is brought there.

No maintainer script may start or stop a server beside pgha: for as long as apt works the host's policy says no
(invoke-rc.d(8), deb-systemd-invoke(1p)), and needrestart is told to keep still. The files of the running server are
replaced beneath it; it goes on with those it has open. May import errors and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgha import nodefile
from pgha.errors import Refused, RolledBack
from pgha.host import Remote
from pgha.ops import host_nodes as places
from pgha.ops.host_nodes import HostNode
from pgha.ops.programs import Package, Programs, installed_of, parse_policy

LOOK_S = 30.0
APT_S = 600.0
BEGIN, UPDATE_FAILED = "@@policy", 75
# $1 PostgreSQL's programs, $2 "yes": ask apt. Packages of one source belong together: server, client, PLs, libpq.
LOOK = r"""
"$1/postgres" --version || exit
echo '@@policy'
[ "$2" = yes ] && command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || exit 0
owner=$(dpkg-query -S "$(readlink -f -- "$1/postgres")" 2>/dev/null | head -n 1); owner=${owner%%:*}
[ -n "$owner" ] || exit 0
said=$(apt-get -q -o DPkg::Lock::Timeout=60 update 2>&1) || { printf '%s\n' "$said" >&2; exit 75; }
source=$(dpkg-query -W -f '${source:Package}' "$owner")
apt-cache policy "$owner" $(dpkg-query -W -f '${source:Package} ${db:Status-Status} ${binary:Package}\n' |
  while read -r s status name; do
    [ "$s $status" = "$source installed" ] && [ "${name%%:*}" != "$owner" ] && echo "$name"; done)
"""
# "$@": name=version. What was held back is held back again.
BRING = r"""#!/bin/sh
policy=/usr/sbin/policy-rc.d mine='written by pgha upgrade, for as long as apt works'
if [ ! -e $policy ] || grep -qF "$mine" $policy; then
  trap 'rm -f $policy' EXIT; trap 'exit 143' HUP INT TERM
  printf '#!/bin/sh\n# %s\nexit 101\n' "$mine" >$policy && chmod 0755 $policy || exit
fi
names=; for one in "$@"; do names="$names ${one%%=*}"; done
held=$(apt-mark showhold $names)
apt-get -q -y --no-install-recommends --only-upgrade --no-remove --allow-change-held-packages \
  -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install "$@"
code=$?
[ -z "$held" ] || apt-mark hold $held
exit $code
"""
# $1 a unit of its own: it goes on when the connection ends, and whoever comes again waits for it. $2 BRING's file,
# $3 where it writes, then packages.
RUN = r"""
unit=$1 file=$2 log=$3; shift 3
while systemctl is-active --quiet "$unit"; do sleep 0.5; done
exec systemd-run --quiet --wait --collect --unit="$unit" --property=StandardOutput=truncate:"$log" \
  --property=StandardError=inherit --setenv=DEBIAN_FRONTEND=noninteractive --setenv=NEEDRESTART_SUSPEND=1 \
  --setenv=LC_ALL=C --setenv=PATH="$PATH" sh "$file" "$@"
"""


@dataclass(frozen=True, slots=True)
class HostReach:
    """`programs.Reach` to a node on a host of its own."""

    node: HostNode
    remote: Remote

    def look(self, *, packages: bool) -> Programs:
        """Of the directory that its node file names. Raises Refused, Unreachable."""
        root, where = self.remote.as_user("root"), f"{self.node.name} ({self.node.host})"
        text = root.read(self.node.node_file_path)
        if text is None:
            why = f"no {self.node.node_file_path}"
            raise Refused(f"{where} has no node of {self.node.cluster}", why, "pgha bootstrap")
        try:
            bin_dir = nodefile.parse(text).bin_dir
        except ValueError as e:
            raise Refused(f"{where}: {self.node.node_file_path} is not understood", str(e), "pgha bootstrap") from e
        argv = ["env", "LC_ALL=C", "sh", "-s", "--", bin_dir, "yes" if packages else "no"]
        ran = root.run(argv, timeout_s=APT_S if packages else LOOK_S, stdin=LOOK)
        if ran.code == UPDATE_FAILED:
            raise Refused(f"{where}: apt-get update failed", ran.tail(), "mend it, or give --installed")
        said, begun, policy = ran.out.partition(BEGIN)
        if not ran.ok or not begun:
            raise Refused(f"{where}: {bin_dir}/postgres does not say its version", ran.tail())
        try:
            return Programs(installed_of(said), parse_policy(policy))
        except ValueError as e:
            raise Refused(f"{where}: {bin_dir}/postgres is not understood", str(e)) from e

    def bring(self, packages: Sequence[Package]) -> None:
        """By apt, all at once. Raises RolledBack, Unreachable."""
        root, name = self.remote.as_user("root"), self.node.cluster
        file, log = f"{places.LIB}/{name}.upgrade.sh", f"{places.LIB}/{name}.upgrade.log"
        root.write(file, BRING, 0o700)
        wanted = [f"{package.name}={package.candidate}" for package in packages]
        argv = ["sh", "-s", "--", f"pgha-upgrade-{name}", file, log, *wanted]
        ran = root.run(argv, timeout_s=APT_S, stdin=RUN)
        if not ran.ok:
            said = [line.strip() for line in (root.read(log) or ran.tail()).splitlines() if line.strip()]
            what = f"{self.node.name} ({self.node.host}): apt-get install {' '.join(wanted)} failed"
            raise RolledBack(what, "; ".join(said[-3:])[-400:], f"mend it there ({log}), then type it again")
