"""The benchmark of a long history: what it publishes in place of Spark is published like anything else."""

from __future__ import annotations

from benchmarks.history import HOUR, ROWS, publications
from benchmarks.lake import fresh
from evcharge.contracts import CONTRACTS
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
