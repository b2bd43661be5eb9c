"""Publishing to Kafka: encoding, idempotent delivery with acks=all, and each event's partition and offset.

Peer: confluent-kafka with the same encoding and settings. Limit: librdkafka with messages that were encoded before, without
their partitions and offsets. The publisher has one core, the broker has the rest. Chunks are those of the feed: an
hour's events, all acknowledged before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from confluent_kafka import Producer

from benchmarks.alone import alone
from benchmarks.harness import Report, Result
from benchmarks.peers import LibrdkafkaPublisher, librdkafka_options
from benchmarks.simulation import SEED, START_AT, Effort, World
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.messages import message
from evcharge.feeds.producer import FLUSH_TIMEOUT_S, KafkaPublisher, Publisher
from evcharge.settings import Settings
from simulation import Simulation

#: The least that must be reached, and the aim: events/s.
FLOOR, AIM = 25_000, 40_000

OpenPublisher = Callable[[Settings], AbstractContextManager[Publisher]]


def publishing(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """Publishing alone, and simulating and publishing by turns as the feed does."""
    world = effort.week
    published = Result(
        "published events",
        "events/s",
        f"So many session events a second are encoded and acknowledged by Kafka, an hour at a time: {world}.",
        floor=FLOOR,
        aim=AIM,
    )
    fed = Result(
        "fed events",
        "events/s",
        f"So many session events a second are simulated and published by turns, an hour at a time: {world}.",
    )
    report("warming up the broker")
    alone(feed, settings, KafkaPublisher, World(world.stations, world.vehicles, days=1))
    for run in range(1, effort.runs + 1):
        report(f"publishing, run {run} of {effort.runs}")
        for side, open_publisher in (("ours", KafkaPublisher), ("peer", LibrdkafkaPublisher)):
            events, total_s, publishing_s = alone(feed, settings, open_publisher, world)
            getattr(published, side).append(round(events / publishing_s, 1))
            getattr(fed, side).append(round(events / total_s, 1))
        published.limit.append(round(alone(least, settings, world), 1))
        published.run_ended()
        fed.run_ended()
    published.details["events"] = events
    return [published, fed]


def feed(settings: Settings, open_publisher: OpenPublisher, world: World) -> tuple[int, float, float]:
    """Events that were simulated and published, the seconds that it took, and those of them that publishing took."""
    events, publishing_s = 0, 0.0
    with open_publisher(settings) as publisher:
        began = time.perf_counter()
        for rows in _hours(world):
            publishing_began = time.perf_counter()
            acks = publisher.publish(SESSION_EVENTS, rows)
            publishing_s += time.perf_counter() - publishing_began
            events += len(acks)
        return events, time.perf_counter() - began, publishing_s


def least(settings: Settings, world: World) -> float:
    """The events/s of librdkafka. Raises RuntimeError if Kafka does not acknowledge all."""
    chunks = [[(row["station_id"].encode(), message(SESSION_EVENTS, row)) for row in rows] for rows in _hours(world)]
    producer = Producer(librdkafka_options(settings))
    began = time.perf_counter()
    for chunk in chunks:
        for key, value in chunk:
            producer.produce(SESSION_EVENTS.topic, value, key)
        if unsent := producer.flush(FLUSH_TIMEOUT_S):
            raise RuntimeError(f"Kafka did not acknowledge {unsent:,} messages")
    return sum(map(len, chunks)) / (time.perf_counter() - began)


def _hours(world: World) -> Iterator[list[dict[str, Any]]]:
    network, fleet = world.built()
    simulation = Simulation(network, fleet, seed=SEED, start_at=START_AT)
    for hour in range(1, world.days * 24 + 1):
        yield list(simulation.advance(until=START_AT + timedelta(hours=hour)).rows())
