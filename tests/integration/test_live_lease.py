"""The lease that lets one machine's stream work, in a real Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Timer

import pytest
from elasticsearch import Elasticsearch

from evcharge.connections import elasticsearch
from evcharge.live import indices, stream_lease
from evcharge.live.indices import STREAM_LEASE
from evcharge.live.stream_lease import Lease
from evcharge.live.stream_lock import StreamError
from evcharge.settings import Settings


@pytest.fixture
def client(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elasticsearch]:
    monkeypatch.setattr(stream_lease, "RENEWED_EVERY_S", 0.0)
    monkeypatch.setattr(stream_lease, "EXPIRES_AFTER_S", 2.0)
    monkeypatch.setattr(stream_lease, "LOOK_EVERY_S", 0.1)
    with elasticsearch(platform) as client:
        indices.ensure_alias(client, STREAM_LEASE)
        client.options(ignore_status=404).delete(index=STREAM_LEASE, id="stream")
        yield client
        client.options(ignore_status=404).delete(index=STREAM_LEASE, id="stream")


def taken(lease: Lease, within_s: float) -> bool:
    stop = Event()
    timer = Timer(within_s, stop.set)
    timer.start()
    try:
        return lease.take(stop)
    finally:
        timer.cancel()


def test_another_machine_waits_while_the_lease_is_renewed(client: Elasticsearch) -> None:
    here, there = Lease(client, "a", "here"), Lease(client, "b", "there")
    assert taken(here, 5)
    renewing = Event()

    def renew() -> None:
        here.renew()
        if not renewing.wait(0.5):
            renew()

    timer = Timer(0, renew)
    timer.start()
    try:
        assert not taken(there, 4)
    finally:
        renewing.set()
        timer.join()
    here.release()
    assert taken(there, 1)


def test_a_lease_that_is_not_renewed_expires(client: Elasticsearch) -> None:
    silent, there = Lease(client, "a", "here"), Lease(client, "b", "there")
    assert taken(silent, 5)
    assert taken(there, 10)
    with pytest.raises(StreamError, match="another stream has the lease, at there"):
        silent.renew()
    # what it no longer has it cannot give up
    silent.release()
    there.renew()


def test_a_stream_of_the_same_machine_does_not_wait(client: Elasticsearch) -> None:
    killed, successor = Lease(client, "a", "here"), Lease(client, "b", "here")
    assert taken(killed, 5)
    assert taken(successor, 1)


def test_a_lease_whose_index_was_removed_is_taken_again(client: Elasticsearch) -> None:
    lease = Lease(client, "a", "here")
    assert taken(lease, 5)
    client.indices.delete(index=next(iter(client.indices.get(index=STREAM_LEASE))))
    indices.ensure_alias(client, STREAM_LEASE)
    lease.renew()
    lease.renew()
    lease.release()


def test_a_stream_that_never_had_the_lease_gives_none_up(client: Elasticsearch) -> None:
    lease = Lease(client, "a", "here")
    lease.release()
    stop = Event()
    stop.set()
    assert not lease.take(stop)
    assert not client.exists(index=STREAM_LEASE, id="stream")
