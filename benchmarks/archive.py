"""Archive: from Kafka to merged main, with warm Spark and without Dagster's launch.

Peer: one plain process (kafka-python, json, pyarrow) that writes the same messages to the lake without rules, quarantine,
ledger or checks. Limit: Spark's own single pass from Kafka to Parquet in the lake, parsed and nothing else.

Another peer in the same runs: a quixstreams application with its own sink for Parquet on S3, which writes to MinIO. Its time
begins with its first message. Kafka Connect is none, because Maven found no sink for S3: neither Aiven's
(io.aiven:s3-connector-for-apache-kafka) nor Camel's (org.apache.camel.kafkaconnector:camel-aws-s3-sink-kafka-connector).
Confluent's is not in Maven Central.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from kafka import KafkaConsumer
from kafka.structs import TopicPartition
from pyspark.sql import SparkSession

from benchmarks.harness import Report, Result
from benchmarks.lake import RUN, fresh
from benchmarks.peers import QUIX, PeerMissingError, python_with, quix_archive
from evcharge.connections import kafka_options, lake_files, spark_session
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.contracts.spark import ddl
from evcharge.feeds.producer import KafkaPublisher
from evcharge.kafka_log import TopicState, topic_states
from evcharge.lake.candidate import kafka_rows
from evcharge.lake.planner import plan
from evcharge.lake.publish import publish_range
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from simulation import Simulation, build_fleet, build_network

# a network that sends the messages in a day: a range then has the few event dates that a live one has
STATIONS, VEHICLES, SEED = 5_000, 50_000, 7
#: One of so many messages has a negative energy and belongs in quarantine.
BAD_EVERY = 1_000
CHUNK = 20_000
#: Ours divided by the limit and by the peer: the least that must be reached, and the aim.
OF_LIMIT_FLOOR, OF_LIMIT_AIM = 0.95, 1.4
OF_PEER_FLOOR, OF_PEER_AIM = 1.4, 2.5


def archive(settings: Settings, messages: int, runs: int, report: Report) -> list[Result]:
    """Sends `messages` simulated events to Kafka and archives them `runs` times, each into a fresh repository."""
    report(f"sending {messages:,} messages")
    _send(settings, messages)
    spark = spark_session(settings)
    state = topic_states(settings, [SESSION_EVENTS.topic])[SESSION_EVENTS.topic]
    result = Result(
        "archive",
        "events/s",
        f"So many session events a second go from Kafka to the lake's main branch, {messages:,} of them in one publication: "
        "parsed, judged by all rules, checked and merged, with Spark warm.",
    )
    of_limit = Result(
        "archive to Spark",
        "times",
        "The archive is so many times as fast as Spark's bare pass of the same run, which only parses.",
        floor=OF_LIMIT_FLOOR,
        aim=OF_LIMIT_AIM,
    )
    of_peer = Result(
        "archive to one process",
        "times",
        "The archive is so many times as fast as one plain Python process of the same run, which has no rules and no checks.",
        floor=OF_PEER_FLOOR,
        aim=OF_PEER_AIM,
    )
    of_quix = Result(
        "archive to quixstreams",
        "times",
        "The archive is so many times as fast as a quixstreams application that writes the same messages to S3 as Parquet.",
    )
    results = [result, of_limit, of_peer]
    report("installing a peer: quixstreams")
    if quix := _quix(settings, messages, result):
        results.append(of_quix)
    for run in range(runs + 1):
        # the first round warms Spark, its Python workers and the page cache, and does not count
        counts = run > 0
        report(f"run {run} of {runs}" if counts else "warming up")
        own = fresh(settings, f"bench-{run}")
        seconds = _ours(own, spark, messages)
        limit, peer = _limit(own, spark, state), _peer(own, state)
        if counts:
            result.ours.append(round(messages / seconds, 1))
            result.limit.append(round(messages / limit, 1))
            result.peer.append(round(messages / peer, 1))
            of_limit.ours.append(round(limit / seconds, 3))
            of_peer.ours.append(round(peer / seconds, 3))
            if quix:
                of_quix.ours.append(round(quix(own.lake_repository) / seconds, 3))
            for each in results:
                each.run_ended()
    # stopped while the server is there: without it the client would retry for minutes at exit
    spark.stop()
    report("ready")
    return results


def _quix(settings: Settings, messages: int, result: Result) -> Callable[[str], float] | None:
    """What gives quixstreams' seconds for a run's name; None, and the reason in the result, if it cannot be installed."""
    try:
        return partial(quix_archive, python_with(settings.cache, QUIX), settings, messages)
    except PeerMissingError as error:
        result.details["no_peer"] = str(error)
        return None


def _send(settings: Settings, messages: int) -> None:
    network = build_network(stations=STATIONS, seed=SEED)
    with KafkaPublisher(settings) as publisher:
        start_at = datetime.now(UTC) - timedelta(days=messages // 400_000 + 2)
        publisher.publish(STATION_REGISTRY, [{**r, "observed_at": start_at} for r in network.registry_records()])
        rows = islice(_events(network, start_at), messages)
        while chunk := list(islice(rows, CHUNK)):
            publisher.publish(SESSION_EVENTS, chunk)


def _events(network: Any, start_at: datetime) -> Iterator[dict[str, Any]]:
    simulation = Simulation(network, build_fleet(network, vehicles=VEHICLES, seed=SEED), seed=SEED, start_at=start_at)
    sent, until = 0, start_at
    while True:
        until += timedelta(hours=1)
        for row in simulation.advance(until=until).rows():
            sent += 1
            yield {**row, "energy_delivered_kwh": -1.0} if sent % BAD_EVERY == 0 else row


def _ours(settings: Settings, spark: SparkSession, messages: int) -> float:
    """Seconds from the plan to merged main; the registry is published before."""
    own = settings.model_copy(update={"publish_max_rows": messages})
    repository = Repository(own)
    registry = plan(own, repository, STATION_REGISTRY.topic, eager=True).range
    if registry is not None:
        publish_range(own, repository, spark, registry, RUN)
    began = time.monotonic()
    planned = plan(own, repository, SESSION_EVENTS.topic, eager=True).range
    if planned is None or planned.rows != messages:
        raise RuntimeError(f"planned {planned}, not {messages} rows")
    published = publish_range(own, repository, spark, planned, RUN)
    seconds = time.monotonic() - began
    if published.manifest.quarantined_by_rule != {"OUT_OF_RANGE": messages // BAD_EVERY}:
        raise RuntimeError(f"unexpected quarantine: {published.manifest.quarantined_by_rule}")
    return seconds


def _limit(settings: Settings, spark: SparkSession, state: TopicState) -> float:
    target = f"s3a://{settings.lake_repository}/main/limit/"
    began = time.monotonic()
    rows = kafka_rows(settings, spark, state.topic, state.log_start, state.log_end)
    parsed = rows.selectExpr(
        "partition", "offset", f"from_json(CAST(value AS STRING), '{ddl(SESSION_EVENTS)}') AS m"
    ).selectExpr("partition", "offset", "m.*")
    parsed.write.option("compression", "zstd").parquet(target)
    return time.monotonic() - began


def _peer(settings: Settings, state: TopicState) -> float:
    """One process: consume, json.loads, a Parquet file for each 100,000 messages."""
    files = lake_files(settings)
    began = time.monotonic()
    consumer = KafkaConsumer(**kafka_options(settings), enable_auto_commit=False)
    ends = {TopicPartition(state.topic, p): end for p, end in state.log_end.items()}
    consumer.assign(list(ends))
    consumer.seek_to_beginning()
    held: list[dict[str, Any]] = []
    part = 0
    waiting = set(ends)
    while waiting:
        for records in consumer.poll(timeout_ms=5_000, max_records=20_000).values():
            held += [json.loads(record.value) for record in records]
        waiting = {tp for tp in waiting if consumer.position(tp) < ends[tp]}
        if len(held) >= 100_000 or not waiting:
            path = f"{settings.lake_repository}/main/peer/part-{part}.parquet"
            pq.write_table(pa.Table.from_pylist(held), path, filesystem=files, compression="zstd")
            held, part = [], part + 1
    consumer.close()
    return time.monotonic() - began
