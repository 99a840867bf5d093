"""Members of a real etcd: listed, taken out, let in again with an empty directory, refused with etcd's reason."""

from __future__ import annotations

import pytest

from pgha.adapters.etcd_membership import EtcdMembership
from pgha.ports import StoreDown
from tests.contract.conftest import CLOCK, within
from tests.support.etcd_cluster import etcd_cluster

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(60)]


def test_a_member_is_listed_taken_out_and_let_in_again() -> None:
    with etcd_cluster(3) as etcd:
        seats = EtcdMembership(etcd.access, CLOCK)
        try:
            first = seats.list(deadline_s=within(5.0))
            assert sorted(m.name for m in first) == sorted(m.name for m in etcd.members)
            assert all(m.started and len(m.peer_urls) == 1 for m in first)
            gone = first[0]
            seats.remove(gone.ident, deadline_s=within(20.0))
            assert gone.ident not in {m.ident for m in seats.list(deadline_s=within(5.0))}
            seats.remove(gone.ident, deadline_s=within(20.0))
            seats.add(gone.peer_urls[0], deadline_s=within(20.0))
            (back,) = [m for m in seats.list(deadline_s=within(5.0)) if m.peer_urls == gone.peer_urls]
            assert not back.started and back.ident != gone.ident
            seats.add(gone.peer_urls[0], deadline_s=within(20.0))
            assert len(seats.list(deadline_s=within(5.0))) == 3, "what is done already is not done twice"
            with pytest.raises(StoreDown, match="not enough started members"):
                seats.remove(first[1].ident, deadline_s=within(20.0))
        finally:
            seats.close()


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_a_leader_that_has_just_gone_is_taken_out_and_let_in_again_at_the_first_asking(fault: str) -> None:
    with etcd_cluster(3) as etcd:
        seats = EtcdMembership(etcd.access, CLOCK)
        try:
            leader = etcd.leader()
            (gone,) = [m for m in seats.list(deadline_s=within(5.0)) if m.name == leader.name]
            (etcd.kill if fault == "killed" else etcd.stop)(leader)
            seats.remove(gone.ident, deadline_s=within(20.0))
            seats.add(gone.peer_urls[0], deadline_s=within(20.0))
            (back,) = [m for m in seats.list(deadline_s=within(5.0)) if m.peer_urls == gone.peer_urls]
            assert not back.started and back.ident != gone.ident
        finally:
            seats.close()
