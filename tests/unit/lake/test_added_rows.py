"""What publications added to a day since a commit: main's log, the files and their rows are given, in random sequences."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from random import Random

import pytest
from main_log import MainLog

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake import added_rows as module
from evcharge.lake.added_rows import AddedRows, added_rows
from evcharge.lake.layout import raw_path

TOPIC = SESSION_EVENTS.topic
DAYS = [date(2026, 1, day) for day in (1, 2)]

#: A row: its publication and a number within it.
Row = tuple[str, int]


class Main(MainLog):
    """A lake whose files have rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[Row]] = {}
        self.now: set[str] = set()
        self.made = 0
        self.done(self.add())

    def done(self, commit: str) -> str:
        self.files[commit] = frozenset(self.now)
        return commit

    def file(self, day: date, hour: str, rows: list[Row]) -> str:
        self.made += 1
        path = raw_path(TOPIC, day.isoformat(), hour, f"f{self.made}")
        self.rows[path] = rows
        self.now.add(path)
        return path

    def bring(self, hour: str, rows_by_day: dict[date, int]) -> str:
        """A publication."""
        publication = f"p{len(self.commits)}"
        for day, rows in rows_by_day.items():
            self.file(day, hour, [(publication, n) for n in range(rows)])
        announced = json.dumps([day.isoformat() for day in rows_by_day])
        metadata = {"topic": TOPIC, "publication_id": publication, "range": "{}", "ingest_hour": hour}
        return self.done(self.add(**metadata, event_dates=announced))

    def compact(self, hour: str) -> str:
        """Rewrites the files of an ingest hour: a file a day. Announces nothing."""
        for day in DAYS:
            folder = raw_path(TOPIC, day.isoformat(), hour, "")[: -len(".parquet")]
            if old := [path for path in self.now if path.startswith(folder)]:
                self.now -= set(old)
                self.file(day, hour, [row for path in old for row in self.rows[path]])
        return self.done(self.add(topic=TOPIC))

    def retract(self, day: date) -> str:
        """Takes a file's rows back."""
        self.now.remove(min(path for path in self.now if f"event_date={day}" in path))
        return self.done(self.add(topic=TOPIC, event_dates=json.dumps([day.isoformat()])))

    def of(self, day: date, commit: str) -> Counter[Row]:
        """All rows of a day at a commit."""
        return Counter(row for p in self.files[commit] if f"event_date={day}" in p for row in self.rows[p])

    def rows_in(self, added: AddedRows) -> Counter[Row]:
        return Counter(row for path in added.paths for row in self.rows[path] if row[0] in added.publications)


@pytest.mark.parametrize("seed", range(200))
def test_what_was_there_and_what_was_added_is_all_there_is(seed: int) -> None:
    random, main = Random(seed), Main()
    loaded = dict.fromkeys(DAYS, main.commits[-1].id)
    for _ in range(15):
        hour = f"2026-01-02-0{random.randrange(3)}"
        if random.random() < 0.3:
            main.compact(hour)
        else:
            main.bring(hour, {day: random.randrange(1, 4) for day in DAYS if random.random() < 0.7})
        head = main.commits[-1].id
        for day in DAYS:
            if random.random() < 0.5:
                added = added_rows(main, TOPIC, {day: loaded[day]}, head)[day]
                assert main.of(day, loaded[day]) + main.rows_in(added) == main.of(day, head)
                loaded[day] = head


def test_only_files_that_may_have_new_rows_are_read() -> None:
    main = Main()
    for _ in range(3):
        main.bring("2026-01-02-00", {DAYS[0]: 5})
    before = main.commits[-1].id
    main.compact("2026-01-02-00")
    main.bring("2026-01-02-01", {DAYS[0]: 1})
    head = main.commits[-1].id
    (new,) = (path for path in main.now if "ingest_hour=2026-01-02-01" in path)
    assert added_rows(main, TOPIC, dict.fromkeys(DAYS, before), head) == {
        DAYS[0]: AddedRows([new], [main.commits[-1].metadata["publication_id"]]),
        DAYS[1]: AddedRows([], []),
    }


def test_a_day_whose_rows_were_taken_back_is_left_out() -> None:
    main = Main()
    before = main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    main.bring("2026-01-02-01", dict.fromkeys(DAYS, 1))
    main.retract(DAYS[0])
    head = main.bring("2026-01-02-01", dict.fromkeys(DAYS, 1))
    found = added_rows(main, TOPIC, dict.fromkeys(DAYS, before), head)
    assert found.keys() == {DAYS[1]}
    assert sum(main.rows_in(found[DAYS[1]]).values()) == 2


def test_a_day_of_another_past_is_left_out() -> None:
    main = Main()
    head = main.bring("2026-01-02-00", {DAYS[0]: 1})
    assert added_rows(main, TOPIC, dict.fromkeys(DAYS, "of another lake"), head) == {}
    # main was set back
    assert added_rows(main, TOPIC, dict.fromkeys(DAYS, head), main.commits[0].id) == {}


def test_a_day_with_very_many_publications_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PUBLICATIONS", 2)
    main = Main()
    before = main.commits[-1].id
    main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    head = main.bring("2026-01-02-00", {DAYS[0]: 1})
    assert added_rows(main, TOPIC, dict.fromkeys(DAYS, before), head).keys() == {DAYS[1]}


def test_a_day_that_was_loaded_long_ago_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMMITS", 2)
    main = Main()
    long_ago = main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    before = main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    main.bring("2026-01-02-00", dict.fromkeys(DAYS, 1))
    head = main.bring("2026-01-02-01", dict.fromkeys(DAYS, 1))
    found = added_rows(main, TOPIC, {DAYS[0]: long_ago, DAYS[1]: before}, head)
    assert found.keys() == {DAYS[1]}
    assert sum(main.rows_in(found[DAYS[1]]).values()) == 2


def test_other_topics_add_nothing() -> None:
    main = Main()
    before = main.commits[-1].id
    head = main.publish(STATION_REGISTRY.topic, DAYS[0])
    main.done(head)
    assert added_rows(main, TOPIC, {DAYS[0]: before}, head) == {DAYS[0]: AddedRows([], [])}
