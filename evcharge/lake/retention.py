"""Kafka's retention. Kafka itself deletes nothing: what is on main for long enough is cut off here, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from evcharge.kafka_log import delete_before, topic_states
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.log import log
from evcharge.settings import Settings


def is_first_of_day(repository: Repository, manifest: Manifest) -> bool:
    """Whether a publication is its topic's first of a UTC day, and not the very first."""
    before = read_ledger(repository, manifest.topic, manifest.base_commit).published_at
    return before is not None and before.date() != manifest.offsets.planned_at.date()


def forget_published(
    settings: Settings, repository: Repository, topic: str, now: datetime | None = None
) -> dict[int, int]:
    """Deletes from the topic's log the records that have been on main for `kafka_retention_h`.

    Returns the new first offset of each partition that was cut; none if there was nothing to delete. Time counts from the
    publication: after a long stop the stream has as long for what it has not read yet. Raises ServerDownError.
    """
    latest = (now or datetime.now(UTC)) - timedelta(hours=settings.kafka_retention_h)
    commit = next((commit for commit in repository.log() if commit.created_at <= latest), None)
    if commit is None:
        return {}
    then = read_ledger(repository, topic, commit.id)
    state = topic_states(settings, [topic])[topic]
    if then.topic_id != state.topic_id:
        return {}
    cut = {
        partition: offset
        for partition, offset in then.offsets.items()
        if state.log_start.get(partition, offset) < offset <= state.log_end[partition]
    }
    if cut:
        delete_before(settings, topic, cut)
        log.info("published records leave Kafka", topic=topic, log_start=cut, on_main_since=str(commit.created_at))
    return cut
