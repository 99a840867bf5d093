"""How a node leaves its place: the seam between `remove`, `destroy` and where the node is. Ports and values only.

`ops.local_leaving` and `ops.host_leaving` are the two ways. Every method may be called again after an interruption.
"""

from __future__ import annotations

from typing import Protocol


class Leaver(Protocol):
    """One node on its way out."""

    name: str

    @property
    def is_here(self) -> bool:
        """Something of the cluster is still there."""
        ...

    @property
    def is_plain(self) -> bool:
        """Its server runs by itself, as `run_plainly` left it."""
        ...

    def halt(self) -> None:
        """Nothing restarts it any more; its watchdog and server have stopped. Raises OutcomeUnknown."""
        ...

    def stop_plain(self) -> None:
        """The server that `run_plainly` left has stopped and is not started again."""
        ...

    def stop_member(self) -> None:
        """Its etcd member has ended and is not started again."""
        ...

    def put_member_away(self, stamp: str) -> None:
        """After `stop_member`: its data are moved aside, so that it can begin anew."""
        ...

    def run_plainly(self, primary: str) -> None:
        """After `halt`: its server under systemd alone, writable at every start on the primary, else following it."""
        ...

    def leave(self) -> None:
        """Nothing restarts it; its watchdog has gone without the server, which was taken over. Raises RolledBack."""
        ...

    def give_back(self, primary: str) -> None:
        """After all have left: the server has its own configuration again."""
        ...

    def clean_up(self, primary: str) -> None:
        """After all were given back: what pgha has made in the server goes."""
        ...

    def forget(self) -> None:
        """pgha's own files outside the node's directories are removed."""
        ...

    def put_away(self, stamp: str) -> str:
        """Data are moved aside to names that end in `stamp`, pgha's own files removed; gives where the data are now."""
        ...


def aside(path: str, stamp: str) -> str:
    """The name under which a directory is kept."""
    return f"{path}.{stamp}"
