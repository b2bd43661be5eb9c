"""What the live stream is measured against: a Spark stream that does nothing, and a quixstreams consumer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import orjson
from elasticsearch import Elasticsearch

from benchmarks.traffic import PROCESSES
from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS
from evcharge.live.indices import STATION_STATE, definition
from evcharge.settings import Settings

#: How often the peer writes.
PEER_EVERY_S = 0.2


def empty_batches(settings: Settings, warm_up_s: float, seconds: float) -> list[float]:
    """Seconds that each micro-batch takes in the stream's own Spark if it reads one row and does nothing with it."""
    told, tell = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_empty_batches, args=(settings, warm_up_s, seconds, tell), daemon=True)
    process.start()
    tell.close()
    try:
        durations: list[float] = told.recv()
        return durations
    finally:
        process.terminate()
        process.join()


def _empty_batches(settings: Settings, warm_up_s: float, seconds: float, tell: Any) -> None:
    from evcharge.live.driver import stream_session

    spark = stream_session(settings)
    spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", "100000")
    # the source that has something new whenever it is asked
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
    tell.send(durations)


@contextmanager
def quixstreams_consumer(settings: Settings, client: Elasticsearch) -> Iterator[str]:
    """A consumer with the latest event of each station in an index, refreshed as often as ours; gives its name."""
    index = f"peer-{uuid4().hex[:6]}"
    properties = {
        "station_id": {"type": "keyword"},
        "last_event_at": {"type": "date"},
        "event": {"type": "object", "enabled": False},
    }
    client.indices.create(
        index=index,
        settings=definition(STATION_STATE)["settings"],
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
