"""PostgreSQL left running without pgha: a unit of systemd, the primary writable at every start, the others following.

docs/hosts.md tells what is no longer kept up then, and the way back.
"""

from __future__ import annotations

from dataclasses import replace

from pgha.nodefile import NodeFile, ServerTls
from pgha.ops import host_nodes as places
from pgha.ops.host_steps import COMMAND_S, HostSteps, must
from pgha.pg import conf

START_S = 90.0
OWN_TLS = ("ca.pem", "postgres.pem", "postgres.key")


def unit_name(cluster: str) -> str:
    """Of the server alone."""
    return f"postgresql-{cluster}.service"


def unit_text(node: NodeFile) -> str:
    """Type=exec: the server ends when it can't go on, and is started again."""
    argv = [f"{node.bin_dir}/postgres", "-D", node.data_dir, "-c", f"config_file={node.state_dir}/{conf.MAIN}"]
    service = [
        "Type=exec",
        f"User={places.USER}",
        "Environment=LC_ALL=C TZ=UTC",
        f"ExecStart={places.words(argv)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "KillMode=mixed",
        "KillSignal=SIGINT",
        "TimeoutStopSec=300",
        "Restart=on-failure",
        f"StandardOutput=append:{node.state_dir}/postgresql.log",
        f"StandardError=append:{node.state_dir}/postgresql.log",
    ]
    about = f"PostgreSQL of {node.node}, left by pgha cluster {node.cluster}"
    return places.unit_text(about, ["After=network-online.target", "Wants=network-online.target"], service)


def live_text(node: NodeFile, primary: str) -> str:
    """The settings that pgha moved: nobody does now, so no commit waits for a standby; after a crash it restarts."""
    if node.node == primary:
        text = conf.live_conf(names="")
    else:
        source = conf.upstream(node, primary, node.node)
        text = conf.live_conf(primary_conninfo=source, slot=conf.slot_name(node.node), names="")
    return text.replace("# Written by pgha at run time.", "# Left by pgha.") + "restart_after_crash = on\n"


def with_own_tls(steps: HostSteps, node: NodeFile) -> NodeFile:
    """The server's certificate and key lie in its own directory from now on: those in /etc/pgha go with pgha."""
    if node.tls is None:
        return node
    ca, cert, key = (f"{node.state_dir}/{name}" for name in OWN_TLS)
    for there, here in ((node.tls.ca_file, ca), (node.tls.cert_file, cert), (node.tls.key_file, key)):
        text = steps.root.read(there)
        if text is not None:  # else an earlier run got further
            steps.user.write(here, text)
    return replace(node, tls=ServerTls(ca, cert, key, node.tls.required))


def run_plainly(steps: HostSteps, node: NodeFile, primary: str) -> str:
    """After its watchdog has stopped; says what it did. Raises RolledBack."""
    signal, node = f"{node.data_dir}/standby.signal", with_own_tls(steps, node)
    steps.user.write(f"{node.state_dir}/{conf.MAIN}", conf.main_conf(node))
    steps.user.write(f"{node.state_dir}/{conf.LIVE}", live_text(node, primary))
    argv = ["rm", "-f", "--", signal] if node.node == primary else ["touch", "--", signal]
    must(steps.user.run(argv, timeout_s=COMMAND_S), f"{node.node}: {signal} can't be changed")
    return steps.unit(unit_name(node.cluster), unit_text(node), restart=False)
