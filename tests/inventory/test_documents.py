"""The example, the table of keys and the document say the same as the code."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from pgha import inventory, inventory_keys, inventory_postgres
from pgha.errors import Findings
from tests.support import golden

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = (CHECKOUT / "inventory.example.yaml").read_text(encoding="utf-8")
DOCUMENT = CHECKOUT / "docs" / "inventory.md"


def blocks() -> dict[str, list[str]]:
    """The switched-off options: top-level key to its blocks, switched on (there may be two ways to write one)."""
    found: dict[str, list[str]] = defaultdict(list)
    for run in re.findall(r"(?:^# [a-z_]+:.*\n(?:^#  .*\n)*)", EXAMPLE, re.MULTILINE):
        text = re.sub(r"^# ", "", run, flags=re.MULTILINE)
        found[text.partition(":")[0]].append(text)
    return found


def switched_on(**which: int) -> str:
    """The example with every option on; `which` block of a key that has several (default: the first)."""
    on = {key: texts[which.get(key, 0)] for key, texts in blocks().items()}
    kept = [line for line in EXAMPLE.splitlines(keepends=True) if line.partition(":")[0] not in on]
    return "".join(kept) + "".join(on.values())


def test_the_example_is_the_three_line_cluster() -> None:
    found = inventory.parse(EXAMPLE, "inventory.example.yaml")
    assert (found.cluster, found.postgres.version, len(found.nodes)) == ("shop", 15, 3)
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 3


@pytest.mark.parametrize(("which", "local"), [({}, False), ({"etcd": 1}, False), ({"nodes": 1}, True)])
def test_the_example_with_every_option_on_is_accepted(which: dict[str, int], local: bool) -> None:
    text = switched_on(**which)
    if local:
        # The demo's nodes have names of their own and no directories.
        text = re.sub(r"^  data_dir: .*\n", "", text, flags=re.MULTILINE).replace("[db1, db2, db3]", "[n1, n2, n3]")
    else:
        text = text.replace("local:\n" + blocks()["local"][0].partition("\n")[2], "")
    try:
        found = inventory.parse(text, "inventory.example.yaml")
    except Findings as e:
        raise AssertionError("\n".join(e.lines()) + f"\n{text}") from e
    assert found.postgres.parameters["shared_buffers"] == "8GB" and found.postgres.hba
    assert (found.local is not None) is local


def test_the_example_names_every_key_with_a_line_about_it() -> None:
    for key in inventory_keys.KEYS:
        if key.name != "NAME" and not key.name.endswith("[]"):
            assert re.search(rf"\b{key.name}:.*", EXAMPLE), f"{key.path} is missing in the example"
    for texts in blocks().values():
        for line in "".join(texts).splitlines():
            if not line.rstrip().endswith(("}", ":")):
                assert "  # " in line or line.rstrip().endswith("]"), f"no word about {line!r}"


@pytest.mark.parametrize("key", [key for key in inventory_keys.KEYS if key.path not in ("cluster", "nodes")])
def test_the_example_value_of_every_key_is_accepted(key: inventory_keys.Key) -> None:
    parts = key.path.replace("[]", "").replace("nodes.NAME", "nodes.db1").replace("NAME", "shared_buffers").split(".")
    value = f"[{key.example}]" if key.path.endswith("[]") else key.example
    nodes = "db1: {host: 192.0.2.11}, db2: 192.0.2.12, db3: 192.0.2.13"
    if parts[0] == "nodes":
        body = {1: f"[{key.example}]", 2: f"{{db1: {value}}}"}.get(
            len(parts), f"{{db1: {{host: h, {parts[-1]}: {value}}}}}"
        )
        if parts[-1] == "host":
            body = f"{{db1: {{host: {value}}}}}"
        elif parts[-1] in ("nofailover", "follow"):
            body = body.removesuffix("}") + ", db2: h2, db3: h3}"
        text = f"cluster: shop\nnodes: {body}\n"
    else:
        partner = {"etcd.ca": "endpoints: ['h:1'], ", "local.dir": "user: u, ", "local.user": "dir: /srv/d, "}.get(
            key.path, ""
        )
        partner += {"etcd.cert": "ca: /a, key: /k, ", "etcd.key": "ca: /a, cert: /c, "}.get(key.path, "")
        partner += {"etcd.user": "password: generate, ", "etcd.password": "user: u, "}.get(key.path, "")
        for part in reversed(parts[1:]):
            value = f"{{{partner}{part}: {value}}}"
            partner = ""
        nodes = "db1: 127.0.0.1" if parts[0] == "local" else nodes
        text = f"cluster: shop\nnodes: {{{nodes}}}\n{parts[0]}: {value}\n"
    try:
        inventory.parse(text, "x")
    except Findings as e:
        raise AssertionError(text + "\n".join(e.lines())) from e


def written() -> dict[str, str]:
    """What the code says for each generated part of the document."""
    owned = "".join(f"| `{name}` | {why} |\n" for name, why in sorted(inventory_postgres.OWNED.items()))
    allowed = "".join(
        f"| `{name}` | {', '.join(f'`{value}`' for value in values)} | {why} |\n"
        for name, (values, why) in sorted(inventory_postgres.ALLOWED.items())
    )
    return {
        "keys": inventory_keys.markdown(),
        "owned": f"| setting | why |\n|---|---|\n{owned}| `recovery_...` | {inventory_postgres.RECOVERY} |\n",
        "allowed": f"| setting | accepted | why |\n|---|---|---|\n{allowed}",
    }


@pytest.mark.parametrize("part", ["keys", "owned", "allowed"])
def test_the_document_says_what_the_code_says(part: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"(<!-- {part}: .*-->\n)(.*?)(<!-- /{part} -->)", text, re.DOTALL)
    assert match, f"docs/inventory.md has no part {part}"
    if os.environ.get(golden.REWRITE) == "1":
        DOCUMENT.write_text(text[: match.start(2)] + written()[part] + text[match.end(2) :], encoding="utf-8")
        return
    assert match[2] == written()[part], f"run with {golden.REWRITE}=1 and read the difference"


def test_a_golden_file_that_differs_shows_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(tmp_path / "test_x.py")
    monkeypatch.setenv(golden.REWRITE, "1")
    golden.check("a\nb\n", "x.txt", beside=here)
    monkeypatch.delenv(golden.REWRITE)
    golden.check("a\nb\n", "x.txt", beside=here)
    with pytest.raises(AssertionError, match=r"(?s)-b\n\+c"):
        golden.check("a\nc\n", "x.txt", beside=here)
    with pytest.raises(AssertionError, match="no golden file"):
        golden.check("a\n", "y.txt", beside=here)


def test_the_defaults_of_the_table_are_those_of_the_code() -> None:
    found = inventory.parse("cluster: shop\nnodes: [192.0.2.11]\n", "x")
    node = found.nodes[0]
    expected = {
        "postgres.port": str(found.postgres.port),
        "nodes.NAME.priority": str(node.priority),
        "nodes.NAME.nofailover": str(node.nofailover).lower(),
        "nodes.NAME.nosync": str(node.nosync).lower(),
        "nodes.NAME.clonefrom": str(node.clonefrom).lower(),
        "nodes.NAME.noloadbalance": str(node.noloadbalance).lower(),
        "nodes.NAME.etcd_client_port": str(node.etcd_client_port),
        "nodes.NAME.etcd_peer_port": str(node.etcd_peer_port),
        "ssh.sudo": str(found.ssh.sudo).lower(),
        "ssh.port": str(found.ssh.port),
        "ha.failover_after": f"{found.ha.failover_after_s:g}s",
        "ha.durability": found.ha.durability,
        "supervisor": found.supervisor,
    }
    assert {path: inventory_keys.BY_PATH[path].default for path in expected} == expected
