"""What a thing that fails again and again may still do: start a server, take over. Pure arithmetic.

Nobody gives up for good: the only copy that is left goes on trying, slowly (design, 7 "Server crash"). May import
nothing of pgha.
"""

from __future__ import annotations

STARTS_FREE = 2  # these come at once: a start that is ended to be rewound is an everyday thing
STARTS_MAX = 6  # from here on it stays down and is tried now and then
RETRY_S = 60.0
START_WINDOW_S = 600.0  # starts are counted for so long,
STEADY_S = 3.0  # and forgotten once the server has been up for so long
SHORT_LIFE_S = 3.0  # a primary that crashes so soon after its take-over counts
CRASHES_FREE = 3  # of them may be within the window before a take-over waits
CRASH_WINDOW_S = 120.0
BRAKE_MAX_S = 10.0


def start_delay_s(starts: int) -> float:
    """After so many starts that did not last: how long the next one waits."""
    if starts <= STARTS_FREE:
        return 0.0
    return RETRY_S if starts >= STARTS_MAX else 0.5 * 2.0 ** (starts - STARTS_FREE)


def brake_s(crashes: int) -> float:
    """After so many crashes of primaries within the window: how long a free key waits for whoever could take it.

    What crashes one primary after another (a statement, a bad block that all have) must not run through all nodes at
    full speed.
    """
    if crashes <= CRASHES_FREE:
        return 0.0
    return min(2.0 ** (crashes - CRASHES_FREE - 1), BRAKE_MAX_S)
