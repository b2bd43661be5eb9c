"""An input that several queries read side by side: its partitions, its status, and where each query begins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from evcharge.contracts import SESSION_EVENTS
from evcharge.live.checkpoints import checkpoint_folder, remove_unused, starting_offsets
from evcharge.live.indices import FORMAT, LiveIndex
from evcharge.live.stream_inputs import Input, inputs
from evcharge.live.stream_status import AsOf, QueryStatus, merged, progressed
from evcharge.settings import Settings, load_settings

ENDS = {0: 10, 1: 20, 2: 30, 3: 40}
INDEX = LiveIndex("station-state-1", {SESSION_EVENTS.topic: {"0": 1, "1": 2}}, "", FORMAT)


def stations(settings: Settings) -> list[Input]:
    return [input_ for input_ in inputs(settings) if input_.name == "stations"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVCHARGE_STREAM_TASKS", "3")
    return load_settings(home=tmp_path)


def test_each_partition_is_read_by_one_task(settings: Settings) -> None:
    own = [input_.own(ENDS) for input_ in stations(settings)]
    assert own == [{0: 10, 3: 40}, {1: 20}, {2: 30}]
    assert [input_.own(ENDS) for input_ in inputs(settings) if input_.name == "journal"] == [ENDS]
    assert len({input_.task_name for input_ in inputs(settings)}) == len(inputs(settings)) == 6


def test_one_task_keeps_the_names_that_it_had(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    assert [input_.task_name for input_ in inputs(settings)] == ["stations", "registry", "vehicles", "journal"]


def status(**fields: Any) -> QueryStatus:
    return QueryStatus("stations", "id", INDEX.name, "2026-03-04T12:00:00.000Z", **fields)


def test_the_status_of_an_input_is_that_of_all_its_queries() -> None:
    quick = status(as_of="2026-03-04T12:00:09.000Z", lag_rows=1, rows=5, rows_per_s=2.5, batch_s=0.1, log_end=10)
    slow = status(
        as_of="2026-03-04T12:00:03.000Z",
        lag_rows=7,
        rows=6,
        rows_per_s=1.25,
        batch_s=0.4,
        log_end=20,
        read_to={"1": 13},
        failing_since="2026-03-04T12:00:04.000Z",
        failing_reason="away",
    )
    both = merged([quick, slow])
    assert both == merged([slow, quick])
    assert (both.as_of, both.lag_rows, both.rows, both.log_end) == (slow.as_of, 8, 11, 30)
    assert (both.rows_per_s, both.batch_s, both.read_to) == (3.8, 0.4, {"1": 13})
    assert (both.failing_since, both.failing_reason) == (slow.failing_since, "away")
    assert merged([quick]) == quick
    # nobody knows how old the state is until every query has said so
    assert merged([quick, status()]).as_of is None


def test_a_status_says_what_was_read() -> None:
    progress = {"sources": [{"endOffset": {SESSION_EVENTS.topic: {"0": 7, "3": 9}}}]}
    after = progressed(status(), progress, {0: 10, 3: 9}, AsOf())
    assert after.read_to == {"0": 7, "3": 9}
    assert progressed(after, None, {0: 10, 3: 9}, AsOf()).read_to == after.read_to


def begins(input_: Input, index: LiveIndex | None, read_to: dict[str, int] | None) -> dict[str, int] | str:
    ends: Any = SimpleNamespace(of=lambda topic: ENDS)
    text = starting_offsets(input_, index, ends, read_to)
    if text == "earliest":
        return text
    offsets: dict[str, int] = orjson.loads(text)[SESSION_EVENTS.topic]
    return offsets


def test_a_query_without_a_checkpoint_begins_where_the_index_is_complete(settings: Settings) -> None:
    first, second, _ = stations(settings)
    assert begins(first, INDEX, None) == {"0": 1, "3": -2}
    assert begins(first, INDEX, {"0": 9, "1": 5, "3": 40}) == {"0": 9, "3": 40}
    # the log ends before: it is another log
    assert begins(first, INDEX, {"0": 11}) == {"0": 1, "3": -2}
    assert begins(second, INDEX, {"0": 9}) == {"1": 2}
    assert begins(first, None, {"0": 9}) == "earliest"
    journal = next(input_ for input_ in inputs(settings) if input_.name == "journal")
    assert begins(journal, INDEX, {"0": 9}) == "earliest"


def test_checkpoints_of_another_number_of_tasks_go(settings: Settings, tmp_path: Path) -> None:
    used = [checkpoint_folder(settings, input_, INDEX) for input_ in inputs(settings) if input_.follows_index]
    old = used[0].with_name("stations")
    for folder in (*used, old, checkpoint_folder(settings, inputs(settings)[-1], INDEX)):
        folder.mkdir(parents=True)
    remove_unused(settings, INDEX)
    assert not old.exists()
    assert all(folder.exists() for folder in used)
    assert checkpoint_folder(settings, inputs(settings)[-1], INDEX).exists()
