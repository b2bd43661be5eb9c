"""What ours is compared with: for the live stream a Spark stream that does nothing and a quixstreams consumer, for the
simulation ACN-Sim, for publishing librdkafka, for the archive a quixstreams application."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson
from confluent_kafka import Producer
from elasticsearch import Elasticsearch

from benchmarks.traffic import PROCESSES
from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS, Contract
from evcharge.feeds.messages import message
from evcharge.feeds.producer import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S, REQUEST_TIMEOUT_S, Ack
from evcharge.live.indices import STATION_STATE, definition
from evcharge.settings import PROJECT, Settings

#: How often the peer writes.
PEER_EVERY_S = 0.2

#: What its sink to S3 needs is not in our environment.
QUIX = ("quixstreams[s3,parquet]==3.28.1",)
QUIX_WITHIN_S = 1_800
#: How many messages it writes at once, over all partitions: as many as the plain process does.
QUIX_ROWS_AT_ONCE = 100_000

#: acnportal 0.3.3 imports pkg_resources, which setuptools 81 and later lack; the rest is what it was measured with.
ACN_SIM = ("acnportal==0.3.3", "setuptools==80.10.2", "numpy==2.4.6", "pandas==3.1.1", "scikit-learn==1.9.1")
ACN_SIM_WITHIN_S = 900
INSTALLED_WITHIN_S = 600


class PeerMissingError(RuntimeError):
    """A peer cannot be installed on this machine. The message says why."""


def python_with(cache: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment with these packages, which is made in `cache` the first time. Raises PeerMissingError."""
    environment = cache / "peers" / re.sub(r"[^\w.-]+", "-", " ".join(packages[:2]))
    python = environment / "bin" / "python"
    done = environment / ".installed"
    if done.exists():
        return python
    uv = shutil.which("uv") or next(map(str, sorted(cache.glob("uv-*/bin/uv"))), None)
    if uv is None:
        raise PeerMissingError(f"there is no uv to install {packages[0]} with: `make env` brings it")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S)
        except subprocess.SubprocessError as error:
            lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise PeerMissingError(f"{packages[0]} cannot be installed: {lines[-1]}") from None
    done.touch()
    return python


def acn_sim(python: Path, evses: Sequence[tuple[str, float]], sessions: Sequence[tuple[Any, ...]]) -> float:
    """Seconds that ACN-Sim takes for `sessions` (see `simulation.recorded`) at `evses` (id, kW).

    It simulates plugging in and out, and each car's battery every five minutes. It has no queue, no faults and no
    drivers, who decide when, where and how much to charge: it is given the sessions. Raises RuntimeError if it fails.
    """
    result = _told(python, "acnsim.py", {"evses": evses, "sessions": sessions}, ACN_SIM_WITHIN_S)
    if result["sessions"] != len(sessions):
        raise RuntimeError(f"ACN-Sim simulated {result['sessions']:,} of {len(sessions):,} sessions")
    return float(result["seconds"])


def quix_archive(python: Path, settings: Settings, messages: int, name: str) -> float:
    """Seconds that a quixstreams application takes for the session events that Kafka has: read, parsed, in MinIO as Parquet.

    It has no rules, no quarantine, no ledger and no checks. The time begins with its first message. Raises RuntimeError.
    """
    given = {
        "kafka": {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "security_protocol": "sasl_plaintext",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": settings.kafka_user,
            "sasl_password": settings.kafka_password.get_secret_value(),
        },
        "s3": {
            "bucket": settings.lake_bucket,
            "endpoint_url": settings.minio_endpoint,
            "aws_access_key_id": settings.minio_access_key,
            "aws_secret_access_key": settings.minio_secret_key.get_secret_value(),
            "region_name": "us-east-1",
        },
        "topic": SESSION_EVENTS.topic,
        "group": name,
        "messages": messages,
        "rows_at_once": QUIX_ROWS_AT_ONCE,
    }
    result = _told(python, "quix_archive.py", given, QUIX_WITHIN_S)
    if result["messages"] != messages:
        raise RuntimeError(f"quixstreams wrote {result['messages']:,} of {messages:,} messages")
    return float(result["seconds"])


def _told(python: Path, script: str, given: Any, within_s: float) -> Any:
    """What a script of ours that another Python runs makes of the input; both are JSON. Raises RuntimeError if it fails."""
    command = [str(python), str(PROJECT / "benchmarks" / script)]
    try:
        done = subprocess.run(
            command, input=json.dumps(given), check=True, capture_output=True, text=True, timeout=within_s
        )
    except subprocess.SubprocessError as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise RuntimeError(f"{script} failed: {lines[-1]}") from None
    return json.loads(done.stdout)


def librdkafka_options(settings: Settings) -> dict[str, Any]:
    """`KafkaPublisher`'s settings in librdkafka's words."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "SCRAM-SHA-256",
        "sasl.username": settings.kafka_user,
        "sasl.password": settings.kafka_password.get_secret_value(),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 20,
        "batch.size": 512 * 1024,
        "message.max.bytes": 8 * 1024 * 1024,
        "request.timeout.ms": REQUEST_TIMEOUT_S * 1000,
        "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
        # a chunk is waited for as a whole
        "queue.buffering.max.messages": 1_000_000,
    }


class LibrdkafkaPublisher:
    """What `KafkaPublisher` does, with its encoding and settings, by confluent-kafka: librdkafka's threads, in C."""

    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(librdkafka_options(settings))

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """Partition and offset of each row, once all are acknowledged. Raises RuntimeError if one is not."""
        topic, key = contract.topic, contract.key
        acks: dict[bytes, deque[Ack]] = {}
        failed: list[str] = []

        def delivered(error: Any, sent: Any) -> None:
            if error is not None:
                failed.append(str(error))
            else:
                # one key's messages are in one partition, and acknowledged there in the order in which they were sent
                acks.setdefault(sent.key(), deque()).append((sent.partition(), sent.offset()))

        gc.disable()
        try:
            messages = [{"value": message(contract, row), "key": row[key].encode()} for row in rows]
            queued = self._producer.produce_batch(topic, messages, on_delivery=delivered)
            unsent = len(messages) - queued + self._producer.flush(FLUSH_TIMEOUT_S)
        finally:
            gc.enable()
        if unsent or failed:
            raise RuntimeError(f"Kafka did not acknowledge {unsent or len(failed):,} messages {failed[:1]}")
        return [acks[sent["key"]].popleft() for sent in messages]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # removes what a failed call left; a published chunk leaves nothing
        self._producer.purge()


def empty_batches(settings: Settings, warm_up_s: float, seconds: float) -> list[float]:
    """Seconds that each micro-batch takes in the stream's own Spark if it reads one row and does nothing with it."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_empty_batches, args=(settings, warm_up_s, seconds, sender), daemon=True)
    process.start()
    sender.close()
    try:
        durations: list[float] = receiver.recv()
        return durations
    finally:
        process.terminate()
        process.join()


def _empty_batches(settings: Settings, warm_up_s: float, seconds: float, sender: Any) -> None:
    from evcharge.live.spark_driver import stream_session

    spark = stream_session(settings)
    spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", "100000")
    # this source always has something new
    rows = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 1).load()
    query = (
        rows.writeStream.option("checkpointLocation", (settings.home / "empty-batches").as_uri())
        .trigger(processingTime="0 seconds")
        .foreachBatch(lambda batch, batch_id: None)
        .start()
    )
    time.sleep(warm_up_s)
    warm = query.lastProgress
    first = warm.batchId + 1 if warm else 0
    time.sleep(seconds)
    durations = [p.durationMs["triggerExecution"] / 1000 for p in query.recentProgress if p.batchId >= first]
    query.stop()
    spark.stop()
    sender.send(durations)


@contextmanager
def quixstreams_consumer(settings: Settings, client: Elasticsearch) -> Iterator[str]:
    """A consumer with the latest event of each station in an index that is refreshed every 200 ms; gives its name."""
    index = f"peer-{uuid4().hex[:6]}"
    properties = {
        "station_id": {"type": "keyword"},
        "last_event_at": {"type": "date"},
        "event": {"type": "object", "enabled": False},
    }
    client.indices.create(
        index=index,
        settings=definition(STATION_STATE)["settings"] | {"refresh_interval": "200ms"},
        mappings={"dynamic": "strict", "properties": properties},
    )
    process = PROCESSES.Process(target=_consume, args=(settings, index), daemon=True)
    process.start()
    try:
        yield index
    finally:
        process.terminate()
        process.join(timeout=15)
        process.kill()


def _consume(settings: Settings, index: str) -> None:
    from quixstreams import Application
    from quixstreams.kafka.configuration import ConnectionConfig
    from quixstreams.sinks import BatchingSink, SinkBatch

    class LatestState(BatchingSink):
        """Upserts the latest event of each station."""

        def setup(self) -> None:
            self._client = elasticsearch(settings)

        def write(self, batch: SinkBatch) -> None:
            latest = {item.value["station_id"]: item.value for item in batch}
            lines: list[Any] = []
            for station_id, event in latest.items():
                document = {"station_id": station_id, "last_event_at": event["occurred_at"], "event": event}
                lines += [orjson.dumps({"index": {"_id": station_id}}), orjson.dumps(document)]
            self._client.bulk(index=index, operations=lines, filter_path="errors")

    application = Application(
        ConnectionConfig(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            security_protocol="sasl_plaintext",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_username=settings.kafka_user,
            sasl_password=settings.kafka_password,
        ),
        consumer_group=index,
        auto_offset_reset="latest",
        auto_create_topics=False,
        commit_interval=PEER_EVERY_S,
        state_dir=settings.home / index,
        loglevel="WARNING",
    )
    events = application.topic(SESSION_EVENTS.topic, value_deserializer="json")
    application.dataframe(events).sink(LatestState())
    application.run()
