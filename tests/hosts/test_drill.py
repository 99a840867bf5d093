"""`pgha drill` as an operator runs it against hosts: each fault over SSH, taken back, the judge outside.

And its promise: a fault ends by itself, on the node's own clock, when the operator's machine is gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from pgha.ops import drill_cut, drill_role
from pgha.ops.drill_ground import FAULTS
from tests.hosts import network
from tests.hosts.cluster import NAME, HostCluster
from tests.hosts.scenes import NOW, hold
from tests.hosts.shell import PLAIN, until

pytestmark = pytest.mark.timeout(400)


def drilled(cluster: HostCluster, fault: str, *words: str) -> dict[str, object]:
    """One round; its report. The cluster is whole and nothing of the drill is left."""
    ran = cluster.pgha("drill", fault, "--confirm", NAME, "-o", "json", *words, within_s=200.0)
    assert ran.code == 0, f"{ran}\n{ran.out}"
    report: dict[str, object] = json.loads(ran.out)
    NOW.known |= {"outage_s": report["outage_max_s"], "limit_s": report["budget_s"]}
    NOW.known |= {name: report[name] for name in ("lost", "two_writers", "duplicates", "acked")}
    assert (report["passed"], report["lost"], report["two_writers"]) == (True, 0, 0)
    for name, host in cluster.lab.hosts.items():
        assert "pgha_drill" not in host.must(["nft", "list", "tables"]), name
        assert "pgha-drill" not in host.must(["systemctl", "list-units", "--all", "pgha-drill*"]), name
        assert host.run(["test", "-e", f"/run/pgha-drill-{NAME}.json"]).code == 1, name
    print(f"drill {fault}: {report['rounds']}")
    return report


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "power"])
def test_a_fault_over_ssh_is_measured_and_taken_back(own: HostCluster, fault: str) -> None:
    drilled(own, fault)
    assert own.pgha("list").code == 0


def test_a_hard_reset_is_asked_for_separately_and_comes_back(own: HostCluster) -> None:
    refused = own.pgha("drill", "power", "--confirm", NAME)
    assert refused.code == 3 and "--may-reset" in refused.err, refused
    primary, over = own.primary, threading.Event()

    def switch_on() -> None:
        """A lab's host that resets itself stays off: somebody has to press the button, as with some machines."""
        while not over.wait(0.5):
            if not own.lab.host(primary).pid:
                hold()
                own.lab.boot(primary)

    button = threading.Thread(target=switch_on)
    button.start()
    try:
        drilled(own, "power", "--may-reset")
    finally:
        over.set()
        button.join(120.0)


def test_without_the_clusters_name_nothing_is_hurt(own: HostCluster) -> None:
    for statement in drill_role.drop_sql():  # the lab's own client has the same role
        own.sql(own.primary, [statement])
    refused = own.pgha("drill", "kill-postgres", "-y")
    assert refused.code == 3 and f"--confirm {NAME}" in refused.err, refused
    assert own.sql(own.primary, ["SELECT count(*) FROM pg_roles WHERE rolname = 'pgha_drill'"]).strip() == "0"


@pytest.mark.parametrize("fault", ["cut-node", "stop-agent", "kill-node"])
def test_the_fault_ends_by_itself_when_the_operators_machine_is_gone(own: HostCluster, fault: str) -> None:
    """The command is killed in the middle of the fault; the node's own timer takes it back."""
    host = own.lab.host(own.primary)
    argv = [sys.executable, "-m", "pgha", "drill", fault, "--confirm", NAME, "-i", str(own.inventory)]
    with subprocess.Popen(
        network.within(own.lab.network.operator, argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**PLAIN, **own.environment()},
    ) as command:
        until(
            lambda: host.run(["systemctl", "is-active", "--quiet", f"pgha-drill-{NAME}.timer"]).code == 0,
            within_s=60.0,
            what="the dead man's timer runs",
        )
        until(lambda: host.run(["test", "-e", f"/run/pgha-drill-{NAME}.json"]).code == 0, within_s=10.0, what="order")
        command.kill()
    # Its full time is over a minute; what is tried is that the timer's own command takes the fault back.
    host.must(["systemctl", "start", f"pgha-drill-{NAME}.service"], within_s=60.0)
    own.await_whole()
    assert drill_cut.table(NAME) not in host.must(["nft", "list", "tables"])
    for statement in drill_role.drop_sql():
        own.sql(own.primary, [statement])
