"""The nodes of an inventory on their way out, each by what it is: processes of this machine, or a host over SSH."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pgha.errors import OutcomeUnknown, PghaError
from pgha.ops import host_nodes, local_nodes
from pgha.ops.host_fleet import Distant
from pgha.ops.host_leaving import HostLeaver
from pgha.ops.host_steps import HostSteps
from pgha.ops.leaving import Leaver, aside
from pgha.ops.local_leaving import LocalLeaver
from pgha.ops.procs import end_all, living
from pgha.ops.progress import Progress
from pgha.ops.together import outcomes

if TYPE_CHECKING:
    from pgha.host import Host
    from pgha.inventory import Inventory

TERM_S = 5.0


class Leavers:
    """found: those that can be worked on; problems: what keeps the others, by name. `close` ends the connections."""

    def __init__(
        self, inventory: Inventory, host: Host, distant: Distant | None, progress: Progress, names: Sequence[str]
    ) -> None:
        self.found: dict[str, Leaver] = {}
        self.problems: dict[str, PghaError] = {}
        self._steps: dict[str, HostSteps] = {}
        self._local = inventory.local is not None
        self._host = host
        self.root = os.path.abspath(inventory.local.dir) if inventory.local else ""
        if self._local:
            mine = [n for n in local_nodes.load(inventory) if n.name in names]
            self.found = {n.name: LocalLeaver(n, host, progress) for n in mine}
            return
        assert distant is not None, "the CLI gives it"
        nodes = {s.name: host_nodes.node_of(inventory, s) for s in inventory.nodes if s.name in names}

        def reach(_name: str, node: host_nodes.HostNode) -> HostSteps:
            steps = HostSteps(node, distant.connect(node.host), distant.who)
            steps.must_be_root()
            return steps

        said: Mapping[str, HostSteps | PghaError] = outcomes(nodes, reach)
        for name, one in said.items():
            if isinstance(one, PghaError):
                self.problems[name] = one
            else:
                self._steps[name] = one
                self.found[name] = HostLeaver(one, progress, distant.wall_s)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only pgha at work on all of them. Raises Busy."""
        with ExitStack() as held:
            if self._local and os.path.isdir(self.root):
                held.enter_context(self._host.hold(self.root))
            for name in sorted(self._steps):
                root = self._steps[name].root
                root.make_dir(host_nodes.LIB, 0o755)
                held.enter_context(root.hold(host_nodes.LIB))
            yield

    def end_place(self, stamp: str) -> str:
        """What the nodes shared: the restarter ends, their directory is moved aside; "" where each has its own host."""
        if not self._local or not os.path.isdir(self.root):
            return ""
        self.end_restarter()
        self._host.move_dir(self.root, aside(self.root, stamp))
        return aside(self.root, stamp)

    def end_restarter(self) -> None:
        """Nothing starts the nodes on this machine any more. Raises OutcomeUnknown."""
        left = end_all([p for p in living() if local_nodes.is_restarter(p, self.root)], timeout_s=TERM_S)
        if left:
            why = f"pid {left[0].pid}"
            raise OutcomeUnknown("the restarter has not ended", why, "the same command, once more")

    def close(self) -> None:
        """End the connections."""
        for steps in self._steps.values():
            steps.remote.close()
