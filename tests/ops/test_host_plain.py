"""A server that goes on without pgha needs nothing of what goes with it."""

from __future__ import annotations

from dataclasses import replace

from pgha.ops import host_plain
from pgha.ops.host_nodes import node_of
from pgha.ops.host_steps import HostSteps
from tests.ops.host_cases import wanted
from tests.ops.test_host_secure import Disk
from tests.pg.test_conf_tls import REQUIRED, node


def test_its_certificate_lies_in_its_own_directory_from_then_on() -> None:
    own = replace(node(REQUIRED), state_dir="/var/lib/pgha/shop/state", node="n1")
    disk = Disk("192.0.2.11", "")
    disk.files |= {REQUIRED.ca_file: "authority", REQUIRED.cert_file: "certificate", REQUIRED.key_file: "key"}
    steps = HostSteps(node_of(wanted(), wanted().nodes[0]), disk, "me")
    host_plain.run_plainly(steps, own, "n2")
    state = own.state_dir
    assert [disk.files[f"{state}/{name}"] for name in host_plain.OWN_TLS] == [
        "authority",
        "certificate",
        "key",
    ]
    assert disk.modes[f"{state}/postgres.key"] == 0o600
    for name in ("postgresql.conf", "pgha.live.conf"):
        assert "/etc/pgha" not in disk.files[f"{state}/{name}"]
    assert f"{state}/postgres.key" in disk.files[f"{state}/postgresql.conf"]
    assert f"sslrootcert=''{state}/ca.pem''" in disk.files[f"{state}/pgha.live.conf"]


def test_one_without_tls_goes_on_without() -> None:
    disk = Disk("192.0.2.11", "")
    steps = HostSteps(node_of(wanted(), wanted().nodes[0]), disk, "me")
    host_plain.run_plainly(steps, node(None), "n1")
    assert "ssl = " not in disk.files[f"{node(None).state_dir}/postgresql.conf"]
