"""`reconcile` from the readers to the verdict, on the stand-ins that the benchmark measures: files in place of servers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import reconcile_scale as stores
from evcharge import passes
from evcharge.audit.reconcile import Part, Reconciliation, reconcile

DAYS = [(stores.START_AT + timedelta(days=n)).date() for n in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six copies of a small network of two days."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"STATIONS": 8, "VEHICLES": 120, "DAYS": 2}.items():
            patch.setattr(stores, name, value)
        events = stores.prepare(folder, 1)
        stores.prepare(folder, 5 * events + 1)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many passes, and files for most stores."""
    monkeypatch.setattr(stores, "DAYS", 2)
    monkeypatch.setattr(passes, "HELD_BYTES", 50_000)


def compared(folder: Path, part: Part | None = None) -> Reconciliation:
    with stores.stand_ins(folder) as settings:
        return reconcile(settings, part=part)


def changed(folder: Path, name: str, change: Any) -> Any:
    """Changes the first line of a stand-in that `change` changes. A call of the result restores it."""
    path = folder / name
    content = path.read_bytes()
    lines = content.splitlines()
    for n, line in enumerate(lines):
        new = change(orjson.loads(line))
        if new is not None:
            lines[n] = orjson.dumps(new)
            break
    path.write_bytes(b"\n".join(lines) + b"\n")
    return lambda: path.write_bytes(content)


def test_equal_stores(folder: Path) -> None:
    verdict = compared(folder)
    assert (verdict.equal, verdict.empty, verdict.differences) == (True, False, [])
    events = verdict.stores["lake"].events
    assert verdict.stores["kafka"] == verdict.stores["producers"] == verdict.stores["lake"]
    assert events == sum(verdict.cut.values()) > 1_000
    assert 0 < verdict.stores["clickhouse"].sessions == verdict.stores["lake"].sessions
    assert verdict.stores["elasticsearch"].events == 6 * 8
    assert verdict.stores["cassandra"].energy_wh > 0
    assert (verdict.stations_ahead, verdict.stations_unordered, verdict.days_behind) == (0, 0, [])


def test_a_sample_is_a_part_of_the_stations_in_every_store(folder: Path) -> None:
    whole, half = compared(folder), compared(folder, Part(sample=0.5))
    assert (half.equal, half.sample, half.to_json()["sample"]) == (True, 0.5, 0.5)
    for store, figures in half.stores.items():
        assert 0.2 * whole.stores[store].events < figures.events < 0.8 * whole.stores[store].events, store
    assert compared(folder, Part(sample=0.0)).empty


def test_since_is_a_part_of_the_days_without_elasticsearch(folder: Path) -> None:
    whole, last = compared(folder), compared(folder, Part(since=DAYS[1]))
    assert (last.equal, last.since) == (True, DAYS[1].isoformat())
    assert set(last.stores) == set(whole.stores) - {"elasticsearch"}
    for store, figures in last.stores.items():
        assert 0 < figures.events < whole.stores[store].events, store
    assert compared(folder, Part(since=DAYS[1] + timedelta(days=1))).empty


@pytest.mark.parametrize("part", [Part(), Part(since=DAYS[1]), Part(sample=0.999)])
def test_a_fact_with_another_energy_is_found(folder: Path, part: Part) -> None:
    day = int(stores.START_AT.timestamp() * 1000) + 86_400_000
    restore = changed(folder, "facts", lambda f: [*f[:3], f[3] + 1] if f[1] >= day else None)
    verdict = compared(folder, part)
    restore()
    (difference,) = verdict.differences
    assert (difference.store, difference.against, verdict.difference_count) == ("clickhouse", "lake", 1)
    assert difference.hour.startswith(DAYS[1].isoformat())
    assert compared(folder, part).equal


def test_what_is_before_since_is_not_compared(folder: Path) -> None:
    restore = changed(folder, "facts", lambda f: [*f[:3], f[3] + 1])
    assert not compared(folder).equal
    assert compared(folder, Part(since=DAYS[1])).equal
    restore()


@pytest.mark.parametrize(
    ("store", "name", "change"),
    [
        ("elasticsearch", "documents", lambda document: document | {"free_outlets": 77}),
        ("cassandra", "hours", lambda hour: [*hour[:2], [hour[2][0] + 1, *hour[2][1:]]]),
    ],
)
def test_a_live_store_that_was_changed_is_found(folder: Path, store: str, name: str, change: Any) -> None:
    restore = changed(folder, name, change)
    verdict = compared(folder)
    restore()
    assert [(d.store, d.against) for d in verdict.differences] == [(store, "lake")]


def test_a_row_that_the_lake_lost_is_found(folder: Path) -> None:
    """With its facts, documents and hours, which then have more than the lake."""
    path = next((folder / "lake" / stores.HEAD / "raw" / stores.EVENTS / f"event_date={DAYS[0]}").rglob("*.parquet"))
    content = path.read_bytes()
    path.unlink()
    verdict = compared(folder)
    path.write_bytes(content)
    assert {d.store for d in verdict.differences} >= {"lake"}
    assert verdict.stores["lake"].events < verdict.stores["kafka"].events


def test_the_folds_of_a_rebuild_are_the_documents(folder: Path) -> None:
    _, _, details = stores.rebuild(folder)
    assert details["stations"] == 6 * 8
