"""A node's CLOCK_BOOTTIME: its own rate, its own beginning, and for a stopped virtual machine its own gaps."""

from __future__ import annotations

from tests.sim.world import World


class SimClock:
    """`ports.Clock`."""

    def __init__(self, world: World, rate: float, boot_s: float) -> None:
        self.world, self.rate = world, rate
        self._base, self._origin = boot_s, world.now

    def now_s(self) -> float:
        """Seconds since boot, as this node counts them."""
        return self._base + (self.world.now - self._origin) * self.rate

    def true_delay(self, at_s: float) -> float:
        """True seconds from now until this node's clock shows that."""
        return max(0.0, (at_s - self.now_s()) / self.rate)

    def missed(self, seconds: float) -> None:
        """It stood still for so many true seconds."""
        self._base -= seconds * self.rate

    def slew(self, rate: float) -> None:
        """From now on it runs at another rate."""
        self._base, self._origin, self.rate = self.now_s(), self.world.now, rate

    def jump(self, seconds: float) -> None:
        """It goes wrong, as no clock may."""
        self._base += seconds

    def sleep(self, seconds: float) -> None:
        """Wait, as this node counts seconds."""
        self.world.me().wait(seconds / self.rate)
