"""Dirty mode: the ledger lists every fault, rates are kept, and chunks and pauses change nothing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_day import START, Event

from simulation import Fleet, Network, Simulation
from simulation.dirt import Delivery, Dirt, DirtRates, Fault, Malformed

SPAN = timedelta(hours=48)
END = START + SPAN
#: By then everything has come, whatever happened to it.
ALL_CAME = END + timedelta(days=30)
NONE = DirtRates.none()
MANY = DirtRates(late=0.1, duplicate=0.1, malformed=0.1, clock_skew=0.3, offline=0.3, meter_null=0.1, meter_reset=0.03)

Ledger = list[dict[str, Any]]


@pytest.fixture(scope="session")
def clean(town: tuple[Network, Fleet]) -> list[Event]:
    events = list(Simulation(*town, seed=1, start_at=START).advance(until=END).rows())
    assert len(events) > 3_000
    return events


def all_of(rates: DirtRates, events: Iterable[Event], seed: int = 1) -> tuple[list[Delivery], Ledger]:
    """Everything that is delivered, and the ledger as it is read from a file."""
    dirt = Dirt(rates, seed)
    deliveries = dirt.deliver(events, ALL_CAME)
    ledger = [json.loads(json.dumps(line.to_json())) for line in dirt.injected]
    assert dirt.totals == Counter(line["fault"] for line in ledger)
    assert dirt.save()["waiting"] == []
    return deliveries, ledger


def undo(deliveries: list[Delivery], ledger: Ledger) -> dict[str, tuple[datetime, Event]]:
    """The instant and the message of each delivery without its faults, by event id. Malformed messages are left out."""
    listed: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for line in ledger:
        listed[line["event_id"], line["delivered_at"]][line["fault"]] = line["detail"]
    undone: dict[str, tuple[datetime, Event]] = {}
    for delivery in deliveries:
        faults = listed.pop((delivery.event_id, delivery.delivered_at.isoformat()), {})
        assert faults.keys() == set(delivery.faults)
        if "malformed" in faults or "duplicate" in faults:
            continue
        assert isinstance(delivery.message, dict)
        at, event = delivery.delivered_at, dict(delivery.message)
        for fault, detail in faults.items():
            if fault in ("late", "offline"):
                (waited_s,) = detail.values()
                assert waited_s > 0
                at -= timedelta(seconds=waited_s)
            elif fault == "clock_skew":
                for name in ("occurred_at", "started_at"):
                    if event[name] is not None:
                        event[name] -= timedelta(seconds=detail.get(f"{name}_s", 0))
            else:
                event["energy_delivered_kwh"] = detail["energy_delivered_kwh"]
        assert delivery.event_id not in undone
        undone[delivery.event_id] = (at, event)
    assert not listed
    return undone


def expected(events: list[Event], ledger: Ledger) -> dict[str, tuple[datetime, Event]]:
    malformed = {line["event_id"] for line in ledger if line["fault"] == "malformed"}
    return {e["event_id"]: (e["occurred_at"], e) for e in events if e["event_id"] not in malformed}


# --- nothing is lost and everything is listed ---


def test_without_faults_deliveries_are_the_events(clean: list[Event]) -> None:
    dirt = Dirt(NONE, seed=1)
    deliveries = dirt.deliver(clean, END)
    assert [delivery.message for delivery in deliveries] == clean
    assert [delivery.delivered_at for delivery in deliveries] == [event["occurred_at"] for event in clean]
    assert [delivery.key for delivery in deliveries] == [event["station_id"] for event in clean]
    assert [delivery.event_id for delivery in deliveries] == [event["event_id"] for event in clean]
    assert dirt.injected == []
    assert not dirt.totals


rate = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rates=st.builds(DirtRates, **dict.fromkeys(asdict(NONE), rate)), seed=st.integers(-(2**63), 2**63 - 1))
def test_the_ledger_gives_back_the_events(clean: list[Event], rates: DirtRates, seed: int) -> None:
    events = clean[:2_000]
    deliveries, ledger = all_of(rates, events, seed)
    assert {delivery.event_id for delivery in deliveries} == {event["event_id"] for event in events}
    times = [delivery.delivered_at for delivery in deliveries]
    assert times == sorted(times)
    assert undo(deliveries, ledger) == expected(events, ledger)


@pytest.mark.slow
def test_every_fault_comes_at_the_default_rates(town: tuple[Network, Fleet]) -> None:
    end = START + timedelta(days=14)
    events = list(Simulation(*town, seed=1, start_at=START).advance(until=end).rows())
    deliveries, ledger = all_of(DirtRates(), events)
    assert {line["fault"] for line in ledger} == set(Fault)
    assert undo(deliveries, ledger) == expected(events, ledger)


@pytest.mark.slow
def test_the_input_is_left_as_it_was(clean: list[Event]) -> None:
    before = [dict(event) for event in clean]
    Dirt(MANY, seed=1).deliver(clean, END)
    assert clean == before


# --- chunks and pauses ---


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 60 * 3600 * 1000), min_size=1, max_size=6), reload=st.booleans())
def test_any_cuts_give_the_same_deliveries_and_state(clean: list[Event], cuts: list[int], reload: bool) -> None:
    last = START + timedelta(hours=60)
    whole = Dirt(MANY, seed=5)
    deliveries, injected = whole.deliver(clean, last), whole.injected
    assert whole.save()["waiting"]

    dirt, parts, lines, given_events = Dirt(MANY, seed=5), [], [], 0
    for until in [*(START + timedelta(milliseconds=cut) for cut in sorted(cuts)), last]:
        upto = next((n for n, event in enumerate(clean) if event["occurred_at"] > until), len(clean))
        parts += dirt.deliver(clean[given_events:upto], until)
        lines += dirt.injected
        given_events = upto
        if reload:
            dirt = Dirt.load(json.loads(json.dumps(dirt.save())))
    # Compared as text, because the order of the fields counts: it is the order of the bytes.
    assert repr(parts) == repr(deliveries)
    assert lines == injected
    assert dirt.totals == whole.totals
    assert json.dumps(dirt.save(), sort_keys=True) == json.dumps(whole.save(), sort_keys=True)


def test_nothing_comes_before_it_is_due(clean: list[Event]) -> None:
    dirt = Dirt(MANY, seed=1)
    first = dirt.deliver([e for e in clean if e["occurred_at"] <= START + SPAN / 2], START + SPAN / 2)
    rest = dirt.deliver([e for e in clean if e["occurred_at"] > START + SPAN / 2], END)
    assert max(delivery.delivered_at for delivery in first) <= START + SPAN / 2
    assert min(delivery.delivered_at for delivery in rest) > START + SPAN / 2
    assert max(delivery.delivered_at for delivery in rest) <= END


def test_a_station_is_the_same_without_the_others(clean: list[Event]) -> None:
    one = clean[0]["station_id"]
    among_all = [d for d in Dirt(MANY, seed=1).deliver(clean, END) if d.key == one]
    assert Dirt(MANY, seed=1).deliver([e for e in clean if e["station_id"] == one], END) == among_all


@pytest.mark.slow
def test_seeds_differ(clean: list[Event]) -> None:
    assert Dirt(MANY, seed=1).deliver(clean, END) != Dirt(MANY, seed=2).deliver(clean, END)


def test_events_out_of_order_and_time_running_back_are_errors(clean: list[Event]) -> None:
    with pytest.raises(ValueError, match="is out of order"):
        Dirt(NONE, seed=1).deliver([clean[-1], clean[0]], END)
    with pytest.raises(ValueError, match="is out of order"):
        Dirt(NONE, seed=1).deliver(clean, END - timedelta(hours=1))
    dirt = Dirt(NONE, seed=1)
    dirt.deliver([], END)
    with pytest.raises(ValueError, match="already delivered"):
        dirt.deliver([], START)
    with pytest.raises(ValueError, match="is out of order"):
        dirt.deliver(clean[:1], ALL_CAME)
    with pytest.raises(ValueError, match="state version"):
        Dirt.load({**dirt.save(), "state_version": 0})


# --- each fault ---


def synthetic(stations: int, days: int, every: timedelta) -> Iterator[Event]:
    """Meter values of sessions that never end, one at each station, in equal steps."""
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    nothing = dict.fromkeys(("started_at", "reason"))
    for step in range(int(timedelta(days=days) / every)):
        for station in range(stations):
            yield nothing | {
                "event_id": f"s{station}-{step}",
                "session_id": f"s{station}",
                "sequence": step,
                "station_id": f"station-{station}",
                "event_type": "meter",
                "occurred_at": midnight + step * every,
                "energy_delivered_kwh": (step + 1) / 10,
                "power_kw": 6.6,
            }


def fields(delivery: Delivery) -> Mapping[str, Any]:
    """The fields of a message that is whole."""
    assert not isinstance(delivery.message, bytes)
    return delivery.message


def assert_binomial(count: int, of: int, rate: float) -> None:
    """Within four standard deviations: one of 16,000 seeds would fail."""
    assert abs(count - of * rate) <= 4 * (of * rate * (1 - rate)) ** 0.5


@pytest.mark.slow
def test_events_are_hit_at_the_rates() -> None:
    rates = DirtRates(0.01, 0.02, 0.005, clock_skew=0, offline=0, meter_null=0.03, meter_reset=0.004)
    events = list(synthetic(250, 5, timedelta(minutes=36)))
    assert len(events) == 50_000
    _, ledger = all_of(rates, events, seed=3)
    hit = {fault: {line["event_id"] for line in ledger if line["fault"] == fault} for fault in Fault}
    for fault in (Fault.LATE, Fault.DUPLICATE, Fault.MALFORMED, Fault.METER_NULL):
        assert_binomial(len(hit[fault]), len(events), getattr(rates, fault))
    resets = {
        line["event_id"]
        for line in ledger
        if line["fault"] == "meter_reset" and line["detail"]["energy_delivered_kwh"] == line["detail"]["reset_at_kwh"]
    }
    assert_binomial(len(resets), len(events) - len(hit[Fault.METER_NULL]), rates.meter_reset)
    assert_binomial(
        sum(line["fault"] == "duplicate" and line["detail"]["copy"] == 2 for line in ledger),
        len(hit[Fault.DUPLICATE]),
        0.2,
    )
    kinds = Counter(line["detail"]["kind"] for line in ledger if line["fault"] == "malformed")
    assert kinds.keys() == set(Malformed)


@pytest.mark.slow
def test_station_days_are_hit_at_the_rates() -> None:
    # Rates this low hardly let two such times of a station overlap.
    rates = replace(NONE, clock_skew=0.04, offline=0.04)
    deliveries, ledger = all_of(rates, synthetic(500, 4, timedelta(hours=1)), seed=3)
    station = {delivery.event_id: delivery.key for delivery in deliveries}
    skewed = {
        (station[line["event_id"]], line["detail"]["occurred_at_s"]) for line in ledger if line["fault"] == "clock_skew"
    }
    offline = {(station[line["event_id"]], line["delivered_at"]) for line in ledger if line["fault"] == "offline"}
    # Times that began on the day before count too: a part of a fifth day.
    assert_binomial(len(skewed), 500 * 4, rates.clock_skew)
    assert_binomial(len(offline), 500 * 4, rates.offline)


@pytest.mark.slow
def test_late_events_are_minutes_to_a_day_late(clean: list[Event]) -> None:
    _, ledger = all_of(replace(NONE, late=1), clean)
    late_s = sorted(line["detail"]["late_s"] for line in ledger)
    assert len(late_s) == len(clean)
    assert late_s[0] >= 60
    assert late_s[-1] < 86_400
    # Log-uniform: the median is the geometric mean of the bounds.
    assert 0.8 < late_s[len(late_s) // 2] / (60 * 86_400) ** 0.5 < 1.25


@pytest.mark.slow
def test_copies_come_later_and_are_the_same(clean: list[Event]) -> None:
    deliveries, _ = all_of(replace(MANY, duplicate=1), clean)
    by_event: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_event[delivery.event_id].append(delivery)
    assert {len(copies) for copies in by_event.values()} == {2, 3}
    for copies in by_event.values():
        assert len({repr(copy.message) for copy in copies}) == 1
        assert [copy.faults.count(Fault.DUPLICATE) for copy in copies] == [0, *[1] * (len(copies) - 1)]
        for before, after in pairwise(copies):
            (again,) = (line for line in after.injected if line.fault is Fault.DUPLICATE)
            gap = after.delivered_at - before.delivered_at
            assert timedelta(seconds=1) <= gap < timedelta(hours=6)
            assert gap == timedelta(seconds=again.detail["after_s"])


@pytest.mark.slow
def test_a_station_that_is_offline_sends_nothing_and_then_its_whole_queue_in_order() -> None:
    # Every station on every day, so that some go offline again before they are back.
    events = list(synthetic(100, 4, timedelta(minutes=30)))
    deliveries, ledger = all_of(replace(NONE, offline=1), events)
    assert len(deliveries) == len(events)
    assert max(line["detail"]["held_s"] for line in ledger) > 4 * 3600
    for _, of_station in groupby(sorted(deliveries, key=lambda d: d.key), key=lambda d: d.key):
        queue = list(of_station)
        occurred = [fields(delivery)["occurred_at"] for delivery in queue]
        assert occurred == sorted(occurred)
        sent_at = {delivery.delivered_at for delivery in queue}
        for delivery in queue:
            if delivery.faults:
                since, until = fields(delivery)["occurred_at"], delivery.delivered_at
                assert not any(since <= at < until for at in sent_at)
                assert all(d.delivered_at <= until for d in queue if fields(d)["occurred_at"] <= until)


@pytest.mark.slow
def test_malformed_messages_are_broken_as_the_ledger_says(clean: list[Event]) -> None:
    by_id = {event["event_id"]: event for event in clean}
    deliveries, _ = all_of(replace(NONE, malformed=1), clean)
    kinds = Counter[str]()
    for delivery in deliveries:
        event, sent, (line,) = by_id[delivery.event_id], delivery.message, delivery.injected
        kind, name = line.detail["kind"], line.detail.get("field")
        kinds[kind] += 1
        if isinstance(sent, bytes):
            assert sent
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                json.loads(sent)
            assert (kind, name) in (("cut_off", None), ("html", None))
            continue
        assert name is not None
        assert {n: v for n, v in sent.items() if n != name} == {n: v for n, v in event.items() if n != name}
        if kind == "missing_field":
            assert name not in sent
        else:
            assert isinstance(sent[name], str)
            assert sent[name] != event[name]
            assert (kind == "unknown_value") == (name == "event_type")
    for kind in Malformed:
        assert_binomial(kinds[kind], len(clean), 1 / len(Malformed))


def test_a_clock_is_off_by_a_constant_for_a_time(clean: list[Event]) -> None:
    deliveries, _ = all_of(replace(NONE, clock_skew=0.2), clean)
    by_station: dict[str, list[tuple[Event, int]]] = defaultdict(list)
    for delivery, event in zip(deliveries, clean, strict=True):
        off_s = next((line.detail.get("occurred_at_s", 0) for line in delivery.injected), 0)
        assert fields(delivery)["occurred_at"] - event["occurred_at"] == timedelta(seconds=off_s)
        by_station[delivery.key].append((event, off_s))
    spells = [
        [off_s, *(event["occurred_at"] for event, _ in spell)]
        for events in by_station.values()
        for off_s, spell in groupby(events, key=lambda pair: pair[1])
        if off_s
    ]
    assert len({off_s for off_s, *_ in spells}) == len(spells) >= 5
    assert {off_s > 0 for off_s, *_ in spells} == {True, False}
    assert all(120 <= abs(off_s) <= 12 * 3600 for off_s, *_ in spells)
    assert all(times[-1] - times[0] < timedelta(hours=24) for _, *times in spells)


def test_the_end_reports_the_start_that_the_station_noted(clean: list[Event]) -> None:
    deliveries, ledger = all_of(replace(NONE, clock_skew=0.5), clean)
    noted = {
        fields(d)["session_id"]: fields(d)["occurred_at"] for d in deliveries if fields(d)["event_type"] == "started"
    }
    stopped = [d for d in deliveries if fields(d)["event_type"] == "stopped"]
    assert len(stopped) > 300
    assert all(fields(d)["started_at"] == noted[fields(d)["session_id"]] for d in stopped)
    backwards = {d.event_id for d in stopped if fields(d)["started_at"] > fields(d)["occurred_at"]}
    assert backwards
    assert {line["event_id"] for line in ledger if line["detail"].get("ends_before_start")} == backwards


def test_a_meter_that_was_reset_counts_from_zero(clean: list[Event]) -> None:
    deliveries, ledger = all_of(replace(NONE, meter_reset=0.05), clean)
    true = {event["event_id"]: event["energy_delivered_kwh"] for event in clean}
    hit = {line["event_id"]: line["detail"] for line in ledger}
    reset: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for delivery in deliveries:
        sent = fields(delivery)["energy_delivered_kwh"]
        if delivery.event_id in hit:
            zero_kwh = hit[delivery.event_id]["reset_at_kwh"]
            assert sent == round(true[delivery.event_id] - zero_kwh, 3) >= 0
            reset[fields(delivery)["session_id"]].append((zero_kwh, sent))
        else:
            assert sent == true[delivery.event_id]
    # Each reset begins with a meter value of zero, and the CDR comes from the same register.
    assert all(
        next(sent for _, sent in readings) == 0
        for session in reset.values()
        for _, readings in groupby(session, lambda r: r[0])
    )
    cdrs = [d for d in deliveries if fields(d)["event_type"] == "stopped" and fields(d)["session_id"] in reset]
    assert cdrs
    assert all(delivery.event_id in hit for delivery in cdrs)


@pytest.mark.slow
def test_only_what_still_matters_is_saved(clean: list[Event]) -> None:
    dirt = Dirt(MANY, seed=1)
    dirt.deliver(clean, ALL_CAME)
    stopped = {event["session_id"] for event in clean if event["event_type"] == "stopped"}
    state = dirt.save()
    assert state["waiting"] == []
    assert state["reset_at_wh"]
    assert not state["reset_at_wh"].keys() & stopped


@pytest.mark.slow
def test_only_meter_values_lose_their_energy(clean: list[Event]) -> None:
    deliveries, _ = all_of(replace(NONE, meter_null=1), clean)
    for delivery, event in zip(deliveries, clean, strict=True):
        lost = event["event_type"] == "meter"
        assert delivery.faults == ((Fault.METER_NULL,) if lost else ())
        assert fields(delivery)["energy_delivered_kwh"] == (None if lost else event["energy_delivered_kwh"])


# --- rates ---


def test_every_fault_has_a_rate() -> None:
    assert set(asdict(DirtRates())) == set(Fault)
    assert all(asdict(DirtRates()).values())
    assert not any(asdict(NONE).values())


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("late=0.01,duplicate=0.005", replace(NONE, late=0.01, duplicate=0.005)),
        (" late = 1 , meter_null=1e-3, ", replace(NONE, late=1.0, meter_null=0.001)),
        ("", NONE),
    ],
)
def test_rates_are_read_from_text(text: str, rates: DirtRates) -> None:
    assert DirtRates.parse(text) == rates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lte=0.1", "'lte' is no fault; there are late, duplicate,"),
        ("late", "'late': a fault has a number, as in late=0.01"),
        ("late=much", "'late=much': a fault has a number, as in late=0.01"),
        ("late=1.5", r"late=1\.5: a rate lies between 0 and 1"),
        ("offline=-0.1", r"offline=-0\.1: a rate lies between 0 and 1"),
        ("late=nan", "late=nan: a rate lies between 0 and 1"),
        ("late=0.1,late=0.2", "late is given twice"),
    ],
)
def test_impossible_rates_are_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirtRates.parse(text)
