"""The questions while events come in: `nearby` over a country's stations, and a station's hours.

Limit of `nearby`: a search in Elasticsearch that does the same and no more (filter by place, connector and free outlet,
nearest first), asked in turn with ours. Limit of the hours: one prepared statement on one table.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count, cycle, islice
from typing import Any

from cassandra.cluster import Session
from elasticsearch import Elasticsearch

from benchmarks.harness import Report, Result, percentile, percentiles
from benchmarks.live import SEED, running_stream
from benchmarks.traffic import Message, charging_all_the_time, registered, sending, session_event
from evcharge.clock import HOUR_MS, day_start
from evcharge.connections import cassandra, elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.live.cassandra_statements import prepared
from evcharge.live.indices import STATION_STATE
from evcharge.live.station_folder import fold_into
from evcharge.live.usage import Hour
from evcharge.live.usage_tables import (
    PROVISIONAL,
    StationHour,
    read_hours,
    write_final,
    write_provisional,
)
from evcharge.queries.client import Queries
from evcharge.queries.nearby import NearbyQuestion
from evcharge.settings import Settings
from simulation import Network, build_network

PREFIX = "near"
DOCUMENTS_PER_REQUEST = 500
UPDATES_PER_S = 2_000
#: Stations all over the country, whose events these are.
UPDATED_STATIONS = 20_000
#: A driver with a CCS car who looks for a free charger in town.
CONNECTOR, RADIUS_KM, LIMIT = "J1772COMBO", 10.0, 20
QUERY_RATES = (100, 200)
THREADS = 16

HOUR_STATIONS, HOUR_READS = 200, 3_000


@dataclass(frozen=True, slots=True)
class Effort:
    """How many stations there are, and how long either side is asked in each round."""

    stations: int = 85_000
    seconds: float = 20.0
    #: At each rate, of either side, and of hours: a server's code is compiled in earnest only after some thousand questions.
    warm_up_s: float = 120.0
    rounds: int = 3


def queries(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """`nearby` at each rate, and reading hours."""
    # the asking threads stand for programs that would not wait 5 ms for each other (the default)
    sys.setswitchinterval(0.0005)
    report(f"writing {effort.stations:,} stations")
    network = build_network(effort.stations, SEED)
    places = places_of(network)
    seconds = 2 * len(QUERY_RATES) * (effort.warm_up_s + effort.rounds * effort.seconds) + effort.warm_up_s
    with elasticsearch(settings) as client, cassandra(settings) as session, Queries(settings) as asked:
        write_stations(settings, client, network)
        days = _write_hours(settings, session)
        report("starting the stream")
        # hours are a minute's work once Cassandra is warm
        with running_stream(settings, client), sending(settings, updates(network), UPDATES_PER_S, seconds + 120):
            results = [_nearby(client, asked, places, rate, effort, report) for rate in QUERY_RATES]
            report("reading hours")
            results.append(_hours(settings, session, days, effort))
    report("ready")
    return results


# --- nearby ---


def _nearby(
    client: Elasticsearch,
    asked: Queries,
    places: Sequence[tuple[float, float]],
    rate: int,
    effort: Effort,
    report: Report,
) -> Result:
    result = Result(
        f"nearby {rate}/s",
        "ms",
        f"95 of 100 questions for the {LIMIT} nearest free CCS chargers within {RADIUS_KM:g} km are answered within this "
        f"time, at {rate} questions/s over {effort.stations:,} stations, while {UPDATES_PER_S:,} events/s come in.",
    )
    where = cycle(places)
    found: list[int] = []

    def ours() -> None:
        latitude, longitude = next(where)
        question = NearbyQuestion(latitude, longitude, RADIUS_KM, CONNECTOR, free_only=True, limit=LIMIT)
        found.append(len(asked.nearby(question).stations))

    def bare() -> None:
        latitude, longitude = next(where)
        client.search(index=STATION_STATE, **_bare_search({"lat": latitude, "lon": longitude}))

    both: dict[str, list[float]] = {"ours": [], "limit": []}
    report(f"warming up at {rate} questions/s")
    for ask in (ours, bare):
        paced(ask, rate, effort.warm_up_s)
    for number in range(effort.rounds):
        report(f"nearby at {rate} questions/s, round {number + 1} of {effort.rounds}")
        for name, ask in (("ours", ours), ("limit", bare)):
            taken = paced(ask, rate, effort.seconds)
            getattr(result, name).append(round(percentile(taken, 95), 2))
            both[name] += taken
        result.run_ended()
    result.details |= {
        **percentiles(both["ours"], 2),
        "limit": percentiles(both["limit"], 2),
        "stations_found": round(sum(found) / len(found), 1),
    }
    return result


def _bare_search(location: dict[str, float]) -> dict[str, Any]:
    return {
        "query": {
            "bool": {
                "filter": [
                    {"term": {"is_current": True}},
                    {"range": {f"free_power_kw.{CONNECTOR}": {"gte": 0}}},
                    {"geo_distance": {"distance": f"{RADIUS_KM}km", "location": location}},
                ]
            }
        },
        "sort": [{"_geo_distance": {"location": location, "unit": "km", "order": "asc"}}],
        "size": LIMIT,
        "source_includes": ["station_id", "station_name", "location", "free_outlets"],
        "track_total_hits": False,
    }


def paced(call: Callable[[], object], rate: float, seconds: float) -> list[float]:
    """Milliseconds that each of `rate` calls/s takes, from when it was due: what waits for a slower one waits too."""
    total = int(rate * seconds)
    numbers, lock, taken = count(), threading.Lock(), []
    begun = time.monotonic()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= total:
                return
            due = begun + number / rate
            time.sleep(max(due - time.monotonic(), 0))
            call()
            taken.append((time.monotonic() - due) * 1000)

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(work) for _ in range(THREADS)]:
            future.result()
    return taken


def places_of(network: Network) -> list[tuple[float, float]]:
    """Where drivers ask from: in the towns that have stations, some kilometres from one."""
    draw = random.Random(SEED)
    chosen = draw.choices(network.stations, k=2_000)
    return [(s.latitude + draw.uniform(-0.05, 0.05), s.longitude + draw.uniform(-0.05, 0.05)) for s in chosen]


def write_stations(settings: Settings, client: Elasticsearch, network: Network, evses: int = 1) -> None:
    """All stations as documents: of their first `evses` EVSEs seven of ten are free, at the others a car charges."""
    now, draw = int(time.time() * 1000), random.Random(SEED)
    # a partition that no topic has: what the stream reads later is new to the documents
    offset = {"kafka_partition": settings.kafka_partitions, "kafka_offset": 0}
    nothing = dict.fromkeys(SESSION_EVENTS.columns)
    records = network.registry_records()
    while part := list(islice(records, DOCUMENTS_PER_REQUEST)):
        rows = [{**record, **registered(record, PREFIX), "observed_at": now, **offset} for record in part]
        events: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            name, own = row["station_id"], [evse["evse_id"] for evse in row["evses"][:evses]]
            sessions = [session_event(name, f"past-{evse}", int(draw.random() < 0.7), now) for evse in own]
            events[name] = [
                {**nothing, **event, "evse_id": evse, **offset, "kafka_offset": number}
                for number, (evse, event) in enumerate(zip(own, sessions, strict=True))
            ]
        fold_into(client, STATION_STATE, STATION_REGISTRY.topic, {row["station_id"]: [row] for row in rows})
        fold_into(client, STATION_STATE, SESSION_EVENTS.topic, events)
    # few segments, as in a state that was written some time ago
    client.options(request_timeout=300).indices.forcemerge(index=STATION_STATE, max_num_segments=5)


def updates(network: Network) -> list[Message]:
    """Cars that charge at stations all over the country."""
    stations = random.Random(SEED).sample(network.stations, min(UPDATED_STATIONS, len(network.stations)))
    return charging_all_the_time([station.station_id.replace("sim", PREFIX, 1) for station in stations])


# --- hours ---


def _write_hours(settings: Settings, session: Session) -> list[tuple[str, date]]:
    """A day of hours as the stream left them, at half of the stations also the final ones; stations and the day."""
    midnight_ms = day_start(int((datetime.now(UTC) - timedelta(days=2)).timestamp() * 1000))
    day = datetime.fromtimestamp(midnight_ms / 1000, UTC).date()
    names = [f"hours-{number:03d}" for number in range(HOUR_STATIONS)]
    rows = [
        StationHour(name, midnight_ms + hour * HOUR_MS, Hour(3, 42_000, HOUR_MS, 2, 1, 0))
        for name in names
        for hour in range(24)
    ]
    write_provisional(settings, session, rows)
    write_final(settings, session, rows[: len(rows) // 2], "benchmark")
    return [(name, day) for name in names]


def _hours(settings: Settings, session: Session, days: Sequence[tuple[str, date]], effort: Effort) -> Result:
    result = Result(
        "hours",
        "ms",
        "A station's hours of one day, provisional and final, are read within this time in 95 of 100 cases, one at a time.",
    )
    bare = prepared(session, f"SELECT * FROM {settings.cassandra_keyspace}.{PROVISIONAL} WHERE station_id=? AND day=?")
    draw = random.Random(SEED)
    warm_at = time.monotonic() + effort.warm_up_s
    while time.monotonic() < warm_at:
        station_id, day = draw.choice(days)
        read_hours(settings, session, station_id, [day])
    taken: dict[str, list[float]] = {"ours": [], "limit": []}
    for _ in range(effort.rounds):
        of_round: dict[str, list[float]] = {"ours": [], "limit": []}
        for station_id, day in draw.choices(days, k=HOUR_READS):
            begun = time.monotonic()
            if len(read_hours(settings, session, station_id, [day])) != 24:
                raise RuntimeError(f"{station_id} lacks the hours that were written")
            read = time.monotonic()
            list(session.execute(bare, (station_id, day)))
            of_round["ours"].append((read - begun) * 1000)
            of_round["limit"].append((time.monotonic() - read) * 1000)
        for side, values in of_round.items():
            getattr(result, side).append(round(percentile(values, 95), 2))
            taken[side] += values
        result.run_ended()
    result.details |= {**percentiles(taken["ours"], 2), "limit": percentiles(taken["limit"], 2)}
    return result
