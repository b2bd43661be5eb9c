"""A history of publications: the benchmark's are published like any other, and main's log has each of them once."""

from __future__ import annotations

import pytest

from benchmarks.history import HOUR, ROWS, publications
from benchmarks.lake import fresh
from evcharge.contracts import CONTRACTS
from evcharge.lake import repository as module
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import MAIN, Repository
from evcharge.settings import Settings


def test_each_topic_is_published_one_range_after_the_other(platform: Settings) -> None:
    own = fresh(platform, "history-of-publications")
    topics = [topic for topic, _ in publications(own, 4)]
    assert topics == [contract.topic for contract in HOUR[:4]]
    assert set(topics) == set(CONTRACTS)
    repository = Repository(own)
    for topic in CONTRACTS:
        assert read_ledger(repository, topic, MAIN).offsets == {0: topics.count(topic) * ROWS[topic]}


def test_the_log_is_the_same_in_pages(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fresh(platform, "log-in-pages")
    list(publications(own, 6))
    repository = Repository(own)
    whole = [commit.id for commit in repository.log()]
    assert len(whole) > 6
    monkeypatch.setattr(module, "_FIRST_COMMITS", 2)
    monkeypatch.setattr(module, "_PAGE", 3)
    assert [commit.id for commit in repository.log()] == whole
    assert [commit.id for commit in repository.log(stop_at=whole[5])] == whole[:5]
    first, last = whole[-1], whole[0]
    assert repository.diff(first, last, is_past=True) == repository.diff(first, last) != []
