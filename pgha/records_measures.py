"""What a node has measured of itself, as a part of its member record. See `records`.

May import `pgha.core` and `records_json` only.
"""

from __future__ import annotations

from pgha.core.model import Measures
from pgha.records_json import Reader, text_of


def measures_body(v: Measures) -> dict[str, object]:
    """The field `measures` of a member."""
    return {
        "lags": {name: round(s, 3) for name, s in v.lags.items()},
        "lease_s": round(v.lease_s, 3),
        "least_s": round(v.least_s, 3),
        "least_at": round(v.least_at, 3),
        "near": v.near,
    }


def parse_measures(member: Reader) -> Measures:
    """Of a member's record; nothing measured when its version writes none. Raises ValueError."""
    if "measures" not in member.body:
        return Measures()
    r = Reader(member.get("measures", dict))
    lags = Reader(r.get("lags", dict, {}))
    return Measures(
        lags={text_of(name): lags.get(name, float) for name in lags.body},
        lease_s=r.get("lease_s", float, 0.0),
        least_s=r.get("least_s", float, 0.0),
        least_at=r.get("least_at", float, 0.0),
        near=r.count("near", 0),
    )
