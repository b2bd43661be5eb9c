"""The figures that `reconcile` compares, on rows in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.audit.figures import Figures, Sides, by_station_hour, disagreements, total_of_hours, total_of_rows
from evcharge.audit.session_rows import (
    below,
    found_in,
    from_offsets,
    of_other_producers,
    one_row_per_event,
    one_row_per_session,
    record_rows,
    without,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS = [int((NOON + timedelta(hours=n)).timestamp() * 1000) for n in range(2)]


def events(*rows: tuple[str, str, str, int, int | None, int]) -> pa.Table:
    """The records of (station, event id, type, minutes after noon, energy in Wh, offset), all in partition 0."""
    stations, ids, types, minutes, energies, offsets = (list(values) for values in zip(*rows, strict=True))
    times = [NOON + timedelta(minutes=minute) for minute in minutes]
    table = pa.table(
        {
            "station_id": stations,
            "event_id": ids,
            "session_id": [event_id.rpartition("-")[0] for event_id in ids],
            "event_type": types,
            "occurred_at": pa.array(times, pa.timestamp("us", "UTC")),
            "energy_wh": pa.array(energies, pa.int64()),
            "partition": [0] * len(rows),
            "offset": offsets,
        }
    )
    return record_rows(table)


DAY = events(
    ("a", "s1-0", "started", 5, None, 0),
    ("a", "s1-1", "meter", 10, 400, 1),
    ("b", "s2-0", "stopped", 59, 900, 2),
    ("a", "s1-2", "stopped", 60, 700, 3),
    ("a", "s1-1", "meter", 10, 400, 4),
)


def test_figures_by_station_and_hour() -> None:
    found = by_station_hour(one_row_per_event(DAY))
    assert {key: (own.events, own.sessions, own.energy_wh) for key, own in found.items()} == {
        ("a", HOURS[0]): (2, 0, 0),
        ("a", HOURS[1]): (1, 1, 700),
        ("b", HOURS[0]): (1, 1, 900),
    }
    total = total_of_rows(one_row_per_event(DAY))
    assert (total.events, total.sessions, total.energy_wh) == (4, 2, 1600)


def test_an_event_that_was_sent_again_counts_once_at_its_first_offset() -> None:
    rows = one_row_per_event(DAY)
    assert rows.filter(pc.equal(rows["key"], "s1-1"))["offset"].to_pylist() == [1]


def test_the_order_of_rows_does_not_matter() -> None:
    rows = one_row_per_event(DAY)
    backwards = rows.take(list(reversed(range(rows.num_rows))))
    assert by_station_hour(backwards) == by_station_hour(rows)
    assert total_of_rows(backwards) == total_of_rows(rows)


def test_an_altered_energy_is_found_at_its_station_and_hour() -> None:
    wh = DAY.schema.get_field_index("energy_wh")
    energies = pc.if_else(pc.equal(DAY["energy_wh"], 900), 901, DAY["energy_wh"])
    altered = one_row_per_event(DAY.set_column(wh, "energy_wh", energies))
    sides = Sides(by_station_hour(altered), by_station_hour(one_row_per_event(DAY)))
    ((key, expected, found),) = disagreements(sides)
    assert key == ("b", HOURS[0])
    assert expected is not None
    assert found is not None
    assert (expected.energy_wh, found.energy_wh) == (900, 901)
    assert expected.hash != found.hash


def test_what_one_side_lacks_is_a_disagreement() -> None:
    one = Figures(1, 0, 0, "00")
    sides = Sides({("a", 0): one, ("c", 0): one}, {("b", 0): one, ("c", 0): one})
    assert list(disagreements(sides)) == [(("a", 0), None, one), (("b", 0), one, None)]


def test_a_live_stores_total_depends_on_where_its_figures_are() -> None:
    one = Figures(1, 2, 300, "0f")
    first, moved = total_of_hours({("a", 0): one, ("b", 0): one}), total_of_hours({("a", 0): one, ("c", 0): one})
    assert (first.events, first.sessions, first.energy_wh) == (2, 4, 600)
    assert first.hash != moved.hash


def test_rows_are_cut_by_their_offsets() -> None:
    rows = one_row_per_event(DAY)
    assert sorted(below(rows, {0: 2})["offset"].to_pylist()) == [0, 1]
    assert sorted(from_offsets(rows, {0: 2})["offset"].to_pylist()) == [2, 3]
    assert sorted(without(rows, {(0, 0), (1, 1)})["offset"].to_pylist()) == [1, 2, 3]
    # a partition that the cut does not name has nothing below it
    assert below(rows, {1: 9}).num_rows == 0


def test_nothing_has_no_figures() -> None:
    nothing = one_row_per_event(DAY).slice(0, 0)
    assert by_station_hour(nothing) == {}
    assert total_of_rows(nothing) == Figures(0, 0, 0, "0" * 16)


def test_stations_have_the_same_event_ids() -> None:
    rows = one_row_per_event(events(("a", "s-1", "stopped", 5, 100, 0), ("b", "s-1", "stopped", 5, 200, 1)))
    assert (rows.num_rows, total_of_rows(rows).sessions, total_of_rows(rows).energy_wh) == (2, 2, 300)


def test_a_session_ends_once() -> None:
    """The first end in Kafka counts, whatever its sequence. The second one stays an event."""
    ends = events(
        ("a", "s-2", "stopped", 5, 100, 0), ("a", "s-1", "stopped", 4, 90, 1), ("a", "s-2", "stopped", 9, 80, 2)
    )
    rows = one_row_per_event(ends)
    assert (total_of_rows(rows).events, total_of_rows(rows).sessions, total_of_rows(rows).energy_wh) == (2, 1, 100)
    assert one_row_per_session(ends)["offset"].to_pylist() == [0]


def test_a_record_is_found_wherever_it_is_with_its_content() -> None:
    ours = events(
        ("a", "s1-1", "stopped", 5, 100, 0), ("a", "s2-1", "stopped", 6, 200, 1), ("a", "s3-1", "meter", 7, 1, 2)
    )
    log = events(
        ("a", "s1-1", "stopped", 5, 100, 7),
        ("a", "s2-1", "stopped", 6, 201, 1),
        ("b", "s3-1", "meter", 7, 1, 2),
        ("a", "s9-0", "meter", 7, 1, 3),
    )
    assert found_in(ours, log)["key"].to_pylist() == ["s1-1"]
    assert of_other_producers(log, ours) == 2
