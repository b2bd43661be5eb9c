"""Traffic for the live path: a paced producer in a process of its own, and a probe that sees when an event shows."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, NamedTuple
from uuid import uuid4

from elasticsearch import Elasticsearch
from kafka import KafkaProducer

from evcharge.clock import to_iso
from evcharge.connections import kafka_options
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.contracts.session_events import event_id
from evcharge.feeds.messages import message
from evcharge.feeds.producer import KafkaPublisher
from evcharge.settings import Settings
from simulation import Network, Simulation, build_fleet

#: Placeholders in an encoded message: the instant of sending, the mark that makes a round's sessions new, and the mark of the
#: round before, for sessions that began in it.
NOW, ROUND, LAST_ROUND = "@now@", "@round@", "@last_round@"
#: The simulation's mean (`evcharge simulate --stations 500 --vehicles 5000 --days 7 --seed 7`: 715,742 of 28,148 sessions).
EVENTS_PER_SESSION = 25
TICK_S = 0.02

PROBE_STATIONS = 16
PROBE_EVERY_S = 0.25
POLL_EVERY_S = 0.05
#: An event that is not visible after this is lost.
PROBE_PATIENCE_S = 120.0

#: spawned, since a fork would share the sockets and locks of this process' clients
PROCESSES = multiprocessing.get_context("spawn")


class Message(NamedTuple):
    """An encoded session event: its station, and its value with `NOW` and `ROUND` still to be filled in."""

    key: bytes
    value: bytes


def simulated_messages(network: Network, vehicles: int, seed: int, days: int) -> list[Message]:
    """The events of some simulated days at the stations of `network`, in order."""
    start_at = datetime.now(UTC)
    simulation = Simulation(network, build_fleet(network, vehicles, seed), seed=seed, start_at=start_at)
    return [encoded(row) for row in simulation.advance(until=start_at + timedelta(days=days)).rows()]


def charging_all_the_time(stations: Sequence[str]) -> list[Message]:
    """A round of events of each station in turn, `EVENTS_PER_SESSION` of each: one car after another charges there.

    Each station is one event further into its session than the one before it, so cars come and go all the time; most
    sessions began in the round before.
    """
    messages = []
    for turn in range(EVENTS_PER_SESSION):
        for number, station_id in enumerate(stations):
            sequence = (turn + number) % EVENTS_PER_SESSION
            event = session_event(station_id, station_id, sequence, NOW, last=EVENTS_PER_SESSION - 1)
            messages.append(encoded(event, ROUND if sequence <= turn else LAST_ROUND))
    return messages


def encoded(row: Mapping[str, Any], begun_in: str = ROUND) -> Message:
    """A session event as it is sent, but for when it is sent and the round."""
    session_id = begun_in + row["session_id"]
    changed = {
        "session_id": session_id,
        "event_id": event_id(session_id, row["sequence"]),
        "occurred_at": NOW,
        "started_at": row.get("started_at") and NOW,
    }
    return Message(row["station_id"].encode(), message(SESSION_EVENTS, {**row, **changed}))


def at_stations(messages: Iterable[Message], prefix: str) -> list[Message]:
    """The messages for stations of their own: `prefix` in place of `sim`."""
    old, new = b"sim-", f"{prefix}-".encode()
    return [Message(key.replace(old, new), value.replace(b'"sim-', b'"' + new)) for key, value in messages]


def register(settings: Settings, records: Iterable[Mapping[str, Any]], prefix: str = "sim") -> None:
    """Sends registry records of the simulation, with `prefix` in place of `sim`."""
    now = datetime.now(UTC)
    rows = [{**record, **registered(record, prefix), "observed_at": now} for record in records]
    with KafkaPublisher(settings) as publisher:
        publisher.publish(STATION_REGISTRY, rows)


def registered(record: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The ids of a registry record with `prefix` in place of `sim`."""
    evses = [{**evse, "evse_id": evse["evse_id"].replace("sim", prefix, 1)} for evse in record["evses"]]
    return {"station_id": record["station_id"].replace("sim", prefix, 1), "evses": evses}


@contextmanager
def sending(
    settings: Settings, messages: Sequence[Message], rate: int, seconds: float
) -> Iterator[Callable[[], float]]:
    """Sends `rate` messages/s for so many seconds, round after round, from another process.

    Gives a function that waits for its end and says at which rate (messages/s) Kafka has acknowledged them.
    """
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_send, args=(settings, messages, rate, seconds, sender), daemon=True)
    process.start()
    sender.close()

    def acknowledged() -> float:
        # EOFError if the process died
        return float(receiver.recv())

    try:
        receiver.recv()
        yield acknowledged
    finally:
        process.terminate()
        process.join()


def _send(settings: Settings, messages: Sequence[Message], rate: int, seconds: float, sender: Any) -> None:
    from confluent_kafka import Producer

    # librdkafka leaves more of the machine to what is measured: kafka-python takes three times the processor time
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "SCRAM-SHA-256",
            "sasl.username": settings.kafka_user,
            "sasl.password": settings.kafka_password.get_secret_value(),
            "enable.idempotence": True,
            # as kafka-python and Kafka's own client do it: a station's events are in one partition, whoever sends them
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    topic = SESSION_EVENTS.topic
    rows = _round_after_round(messages)
    gc.freeze()
    sender.send("begins")
    begun, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - begun) < seconds:
        due = int(elapsed * rate)
        now = to_iso(datetime.now(UTC)).encode()
        for key, value in islice(rows, due - sent):
            producer.produce(topic, value.replace(NOW.encode(), now), key)
        producer.poll(0)
        sent = due
        time.sleep(TICK_S)
    unsent = producer.flush(60)
    if unsent:
        raise RuntimeError(f"Kafka did not acknowledge {unsent:,} messages")
    sender.send(sent / (time.monotonic() - begun))


def _round_after_round(messages: Sequence[Message]) -> Iterator[Message]:
    own, mark, last_mark = uuid4().hex[:6], ROUND.encode(), LAST_ROUND.encode()
    for number in count():
        fresh, last = f"{own}-{number}-".encode(), f"{own}-{number - 1}-".encode()
        for key, value in messages:
            yield Message(key, value.replace(mark, fresh).replace(last_mark, last))


def probe_stations() -> list[str]:
    """The stations that the probe's events are for, named as the simulation numbers them."""
    return [f"probe-{number:05d}" for number in range(1, PROBE_STATIONS + 1)]


def probe(settings: Settings, client: Elasticsearch, index: str, seconds: float) -> list[float]:
    """Seconds from an event's sending until a search finds it, for an event each `PROBE_EVERY_S`.

    Each is for a station of its own, whose document in `index` has its `last_event_at`. Raises RuntimeError if one
    does not show.
    """
    producer = KafkaProducer(
        **kafka_options(settings), acks="all", enable_idempotence=True, metrics_enabled=False, linger_ms=0
    )
    own, stations = uuid4().hex[:6], probe_stations()
    waiting: dict[str, list[tuple[str, float]]] = {}
    seen: list[float] = []
    begun, sent = time.monotonic(), 0
    while waiting or time.monotonic() - begun < seconds:
        now = time.monotonic()
        if now - begun >= sent * PROBE_EVERY_S and now - begun < seconds:
            visit, number = divmod(sent, PROBE_STATIONS)
            at = datetime.now(UTC)
            producer.send(SESSION_EVENTS.topic, *_probe_event(own, stations[number], visit, at))
            waiting.setdefault(stations[number], []).append((to_iso(at), now))
            sent += 1
        found = client.search(
            index=index,
            query={"bool": {"filter": {"terms": {"station_id": list(waiting)}}}},
            # from the columns: unpacking the documents so often costs more than writing them
            stored_fields="_none_",
            docvalue_fields=[{"field": "station_id"}, {"field": "last_event_at"}],
            size=PROBE_STATIONS,
            track_total_hits=False,
        )["hits"]["hits"]
        visible_at = time.monotonic()
        for hit in found:
            station_id = hit["fields"]["station_id"][0]
            (last,) = hit["fields"].get("last_event_at", [""])
            seen += [visible_at - sent_at for at_text, sent_at in waiting[station_id] if at_text <= last]
            waiting[station_id] = [(text, sent_at) for text, sent_at in waiting[station_id] if text > last]
        waiting = {station_id: events for station_id, events in waiting.items() if events}
        if any(visible_at - events[0][1] > PROBE_PATIENCE_S for events in waiting.values()):
            raise RuntimeError(f"an event was not visible after {PROBE_PATIENCE_S:.0f} s")
        time.sleep(max(POLL_EVERY_S - (time.monotonic() - now), 0))
    producer.close()
    return seen


def _probe_event(own: str, station_id: str, visit: int, at: datetime) -> tuple[bytes, bytes]:
    """Value and key of a station's `visit`th event: cars plug in and leave in turn."""
    session, sequence = divmod(visit, 2)
    row = session_event(station_id, f"probe-{own}-{station_id}-{session}", sequence, at)
    return message(SESSION_EVENTS, row), station_id.encode()


def session_event(station_id: str, session_id: str, sequence: int, at: Any, last: int = 1) -> dict[str, Any]:
    """A session's event at the first EVSE: the first is plugging in, the `last` leaving, between them are meter values."""
    row = {
        "event_id": event_id(session_id, sequence),
        "session_id": session_id,
        "sequence": sequence,
        "station_id": station_id,
        "evse_id": f"{station_id}-1",
        "connector_id": "1",
        "event_type": "started" if sequence == 0 else "stopped" if sequence == last else "meter",
        "occurred_at": at,
        "energy_delivered_kwh": 5.0 * sequence / last,
    }
    return {**row, "started_at": at} if sequence == last else row
