"""Loads that read only what is new: after any publications the warehouse is what full reloads of its days make it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from secrets import token_hex
from typing import Any

import pytest
from crafted_lake import CraftedLake, archived, day_of
from support import Lake, Row, meter, stopped

from evcharge.contracts import SESSION_EVENTS
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import ENDS, FACT

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
#: Two operators, whose sessions have the same ids.
STATIONS = ("added-a", "added-b")


@pytest.fixture(scope="module")
def own(lake: Lake) -> Iterator[CraftedLake]:
    crafted = CraftedLake(lake.settings, f"added-{token_hex(3)}")
    crafted.add_stations(*STATIONS)
    yield crafted
    crafted.drop()


class World:
    """Publications of three days of their own, and what the facts of these days must be."""

    def __init__(self, lake: CraftedLake, seed: int) -> None:
        self.lake, self.random, self.seed = lake, Random(seed), seed
        self.days = [NOON + timedelta(days=100 * seed + n) for n in range(3)]
        self.rows: dict[tuple[int, int, int], dict[str, Any]] = {}
        self.hours = [f"2025-01-{seed + 1:02}-0{n}" for n in range(2)]

    @property
    def dates(self) -> list[date]:
        return [day.date() for day in self.days]

    def publish(self) -> None:
        """A few records. Most sessions are new; others have an end already, on this day or on another."""
        publication = f"p-{self.seed}-{len(self.rows)}"
        rows = []
        for _ in range(self.random.randrange(1, 8)):
            # places are not in the order of publications, so that a later record may be the one that counts
            place = (self.seed, self.random.randrange(2), self.random.randrange(10**9))
            row = archived(self._event(), publication, place)
            self.rows[place] = row
            rows.append(row)
        self.lake.publish_rows(SESSION_EVENTS, publication, self.random.choice(self.hours), rows)

    def _event(self) -> Row:
        # 15 ids, so that half of the later records are of known sessions
        name, where = f"s-{self.seed}-{self.random.randrange(15)}", self.random.choice(STATIONS)
        ended_at = self.random.choice(self.days) + timedelta(minutes=self.random.randrange(600))
        if self.random.random() < 0.2:
            return meter(name, where, occurred_at=ended_at)
        return stopped(
            name,
            where,
            ended_at,
            sequence=self.random.randrange(1, 3),
            started_at=ended_at - timedelta(minutes=self.random.randrange(1, 2000)),
            energy_delivered_kwh=self.random.randrange(60_000) / 1000,
            ev_id=self.random.choice([None, f"car-{self.seed}-1", f"car-{self.seed}-2"]),
            ev_model_id=self.random.choice([None, "model-a", "model-b"]),
        )

    def retract(self) -> None:
        paths = [
            path
            for day in self.dates
            for path in self.lake.repository.paths("main", f"raw/{SESSION_EVENTS.topic}/event_date={day}/")
        ]
        if paths:
            path = self.random.choice(paths)
            for row in self.lake.table("main", path).to_pylist():
                del self.rows[row["topic_generation"], row["kafka_partition"], row["kafka_offset"]]
            self.lake.retract(path)

    def step(self) -> None:
        match self.random.random():
            case n if n < 0.7:
                self.publish()
            case n if n < 0.93:
                self.lake.compact(self.random.choice(self.hours))
            case _:
                self.retract()

    def pending(self) -> list[date]:
        return [day for day in pending_loads(self.lake.settings, self.lake.repository).days if day in self.dates]

    def expected(self) -> list[tuple[Any, ...]]:
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for place in sorted(self.rows):
            row = self.rows[place]
            if row["event_type"] == "stopped":
                first.setdefault((row["station_id"], row["session_id"]), row)
        return sorted(
            (*key, row["occurred_at"], round(row["energy_delivered_kwh"] * 1000), row["publication_id"])
            for key, row in first.items()
        )

    def expected_cars(self) -> list[tuple[Any, ...]]:
        """Each car's newest model and first day, as its facts have them."""
        facts = self.lake.query(
            f"SELECT vehicle_id, ev_model_id, ended_at FROM {FACT} WHERE startsWith(vehicle_id, %(cars)s) "
            "ORDER BY ended_at, station_id, session_id",
            cars=f"car-{self.seed}-",
        )
        cars: dict[str, tuple[str, date]] = {}
        for car, model, ended_at in facts:
            known, first = cars.get(car, ("", ended_at.date()))
            cars[car] = (model or known, first)
        return sorted((car, *known) for car, known in cars.items())

    def cars(self) -> list[tuple[Any, ...]]:
        return self.lake.query(
            "SELECT vehicle_id, ev_model_id, first_seen_date FROM dim_vehicle FINAL "
            "WHERE startsWith(vehicle_id, %(cars)s) ORDER BY vehicle_id",
            cars=f"car-{self.seed}-",
        )

    def facts(self) -> list[tuple[Any, ...]]:
        return self.lake.query(
            f"SELECT station_id, session_id, ended_at, toInt64(energy_delivered_kwh * 1000), publication_id FROM {FACT} "
            "WHERE toDate(ended_at, 'UTC') IN %(days)s ORDER BY station_id, session_id",
            days=self.dates,
        )

    def everything(self) -> list[list[tuple[Any, ...]]]:
        """Every column of the facts, an order-free hash of them, where the ends are, cars, and the marks."""
        days = self.dates
        of_days = f"FROM {FACT} WHERE toDate(ended_at, 'UTC') IN %(days)s"
        return [
            self.lake.query(f"SELECT * {of_days} ORDER BY ALL", days=days),
            self.lake.query(f"SELECT count(), groupBitXor(cityHash64(*)) {of_days}", days=days),
            self.lake.query(f"SELECT * FROM {ENDS} FINAL WHERE ended_on IN %(days)s ORDER BY ALL", days=days),
            self.cars(),
            self.lake.query(
                f"SELECT date, row_count FROM loaded_day FINAL WHERE table_name = '{FACT}' AND date IN %(days)s "
                "ORDER BY date",
                days=days,
            ),
        ]


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_publications_gives_what_a_full_reload_gives(own: CraftedLake, seed: int) -> None:
    world = World(own, seed)
    world.publish()
    added = 0
    for _ in range(6):
        for _ in range(world.random.randrange(1, 4)):
            world.step()
        pending = world.pending()
        # together, or only some of them first
        some = world.random.sample(pending, world.random.randrange(len(pending) + 1))
        for days in filter(None, (some, [day for day in pending if day not in some])):
            added += len(own.load(days).added_to)
        while pending := world.pending():
            added += len(own.load(pending).added_to)
        assert world.facts() == world.expected()
        assert world.cars() == world.expected_cars()
    assert added, "no load of this sequence read only what is new"
    before = world.everything()
    assert own.load(world.dates).added_to == tuple(world.dates)
    assert world.everything() == before
    assert own.load(world.dates, in_full=True).added_to == ()
    assert world.everything() == before


def test_what_is_in_doubt_is_read_in_full(own: CraftedLake) -> None:
    world = World(own, 10)
    day = world.days[0]
    rows = [
        archived(stopped(f"doubt-{n}", STATIONS[0], day + timedelta(minutes=n)), "doubt", (90, 0, n)) for n in range(5)
    ]
    own.publish_rows(SESSION_EVENTS, "doubt", world.hours[0], rows)
    assert {day_of(row) for row in rows} == {day.date()}

    def load() -> tuple[date, ...]:
        report = own.load([day.date()])
        assert report.rows == 5
        return report.added_to

    assert (load(), load()) == ((), (day.date(),))
    # the table has another number of rows than were loaded
    own.query(f"DELETE FROM {FACT} WHERE session_id = 'doubt-3'")
    assert (load(), load()) == ((), (day.date(),))
    # an earlier version computed the rows
    own.query(
        "ALTER TABLE loaded_day UPDATE loader = '' WHERE date = %(day)s SETTINGS mutations_sync = 2", day=day.date()
    )
    assert (load(), load()) == ((), (day.date(),))
