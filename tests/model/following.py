"""The model with nodes that stream from a standby: the same world, in which a follower may turn to another follower.

Who streams from a standby gets what that one has, under whatever name, also after its promotion; but its replies count
for nobody, since its name is of another epoch than that one's.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.model.protocol_model import Node, World


class Cascade(World):
    """The protocol with the tag `follow`, set and taken away at random."""

    def schedule(self) -> tuple[list[Callable[[], None]], list[float]]:
        """What else may happen."""
        actions, weights = super().schedule()
        return [*actions, self.follow_standby], [*weights, 6 * self.random.choice((0.2, 1, 1, 3))]

    def replicate(self) -> None:
        """From the holder, or from whoever else the node was told to follow."""
        node = self.some(lambda n: n.upstream)
        source = node and (self.source(node) or self.passes_on(node))
        if node and source:
            node.log += source.log[len(node.log) :][: self.random.randint(1, 4)]

    def passes_on(self, node: Node) -> Node | None:
        """A standby serves who lies on its own history, and goes on when it was promoted."""
        source = self.nodes[node.upstream[0]] if node.upstream else node
        return source if source is not node and source.up and node.shares_history(source) else None

    def follow_standby(self) -> None:
        """Instead of the holder, on whose history it was measured, the node follows one that has the same epoch's name,
        whoever of the two has more. Sealed it follows nobody."""
        node = self.some(lambda n: n.upstream and n.upstream[1] == self.key.epoch and not n.primary_epoch)
        if not node:
            return
        other = self.some(lambda n: n is not node and n.upstream and n.upstream[1] == self.key.epoch)
        if other and not other.primary_epoch:
            node.upstream = (other.name, self.key.epoch)
            self.stats["cascades"] += 1
