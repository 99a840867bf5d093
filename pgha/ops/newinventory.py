"""The text of a new inventory: what was answered, and the rest of what it may say as comments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

REST = """
# -- what these lines leave out; an option is switched on by deleting the "# " before it --
# postgres:                                     # everything about PostgreSQL, in place of the line above
#   version: {version}
#   port: 5432                                  # on every node
#   parameters: {{shared_buffers: 2GB}}           # any name of the manual, except what pgha decides itself
#   hba: ["host app app 192.0.2.0/24 scram-sha-256"]    # lines of pg_hba.conf, in place of pgha's
# ha:
#   failover_after: 6s                          # silence after which another node takes over, 5s to 5min
#   durability: quorum                          # quorum, strict (blocks when no standby is left) or async
# supervisor: cron                              # or systemd: what starts pgha on the nodes
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What `pgha init` was told. key and user "": what the ssh configuration says."""

    cluster: str
    hosts: Sequence[str]
    version: int = 15
    user: str = ""
    key: str = ""


def text(answers: Answers) -> str:
    """The file. It is checked by reading it back (`pgha.inventory.parse`)."""
    hosts = ", ".join(answers.hosts)
    ssh = [f"{name}: {value}" for name, value in (("user", answers.user), ("key", answers.key)) if value]
    lines = [
        "# A cluster of pgha. Next: pgha check, then pgha bootstrap. Every key: docs/inventory.md",
        "",
        f"cluster: {answers.cluster}",
        f"postgres: {answers.version}",
        f"nodes: [{hosts}]    # etcd runs on the first 1, 3 or 5 of them",
        f"ssh: {{{', '.join(ssh)}}}"
        if ssh
        else "# ssh: {user: admin, key: ~/.ssh/id_ed25519}    # else by your ssh configuration",
    ]
    return "\n".join(lines) + "\n" + REST.format(version=answers.version)
