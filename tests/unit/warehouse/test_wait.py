"""The wait for the warehouse ends, whatever dates were sent; main's ledger and log and the marks are given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from main_log import MainLog

from evcharge.cli.progress import wait_for_warehouse
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import Ledger
from evcharge.lake.touched_days import Mark, Part
from evcharge.settings import Settings
from evcharge.warehouse import pending_loads, wait
from evcharge.warehouse.tables import FACT

TOPIC = SESSION_EVENTS.topic
TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[date], None]:
    """Marks a day as loaded. Main has rows of today and of tomorrow."""
    log, marks = MainLog(), dict[Part, Mark]()
    commit = log.publish(TOPIC, TODAY, TOMORROW)
    monkeypatch.setattr(wait, "Repository", lambda _: log)
    monkeypatch.setattr(wait, "read_ledger", lambda *_: Ledger(TOPIC, "id", {0: 7}, 1, "p", 1, None))
    monkeypatch.setattr(pending_loads, "loaded_days", lambda _: marks)
    return lambda day: marks.update({(FACT, day): Mark(commit, datetime.now(UTC))})


def test_tomorrow_is_not_waited_for_and_named(
    settings: Settings, load: Callable[[date], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait.wait_until_loaded(settings, {TOPIC: {0: 7}}, {TOMORROW}, timeout_s=0) == [TOMORROW]
    wait_for_warehouse(settings, {TOPIC: {0: 7}}, {TOMORROW}, 0)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"the warehouse has them, but for {TOMORROW}: a day is loaded once it has begun"


def test_today_is_waited_for(settings: Settings, load: Callable[[date], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "POLL_S", 0.01)
    with pytest.raises(wait.WaitTimeoutError, match="1 days are not loaded"):
        wait.wait_until_loaded(settings, {TOPIC: {0: 7}}, {TODAY, TOMORROW}, timeout_s=0)
    load(TODAY)
    assert wait.wait_until_loaded(settings, {TOPIC: {0: 7}}, {TODAY, TOMORROW}, timeout_s=0) == [TOMORROW]


def test_what_is_published_during_the_wait_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, marks = MainLog(), dict[Part, Mark]()
    sent = log.publish(TOPIC, TODAY)
    monkeypatch.setattr(wait, "Repository", lambda _: log)
    monkeypatch.setattr(wait, "read_ledger", lambda *_: Ledger(TOPIC, "id", {0: 7}, 1, "p", 1, None))
    monkeypatch.setattr(pending_loads, "loaded_days", lambda _: marks)
    monkeypatch.setattr(wait, "POLL_S", 0.01)
    asked = 0

    def on_progress(missing: wait.Missing) -> None:
        nonlocal asked
        asked += 1
        assert missing.unloaded_days == 1
        # a live feed goes on: the running day is touched again before and after its load
        log.publish(TOPIC, TODAY)
        if asked == 2:
            marks[(FACT, TODAY)] = Mark(sent, datetime.now(UTC))
            log.publish(TOPIC, TODAY)

    assert wait.wait_until_loaded(settings, {TOPIC: {0: 7}}, {TODAY}, timeout_s=5, on_progress=on_progress) == []
    assert asked == 2
    assert pending_loads.pending_loads(settings, log).days == [TODAY]
