"""One stream at a time, and the hand-over from a stand-in to the stream that relieves it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from evcharge.live.stream_lock import StreamError, is_running, is_taken_over, only_one, stands_in, take_over
from evcharge.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


def test_one_stream_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.live.stream_lock.LOCK_WAIT_S", 0.0)
    with only_one(settings):
        assert is_running(settings)
        assert not stands_in(settings)
        with pytest.raises(StreamError, match="another stream runs"), only_one(settings, stand_in=True):
            pass
        assert not stands_in(settings)
    assert not is_running(settings)


def test_a_stand_in_ends_when_it_is_asked_and_the_other_follows(settings: Settings) -> None:
    events: list[str] = []
    began = threading.Event()

    def stand_in() -> None:
        with only_one(settings, stand_in=True):
            began.set()
            while not is_taken_over(settings):
                time.sleep(0.01)
            events.append("the stand-in ends")

    thread = threading.Thread(target=stand_in)
    thread.start()
    assert began.wait(10)
    assert stands_in(settings)
    with take_over(settings, within_s=10):
        events.append("the other one runs")
        assert is_running(settings)
        assert not stands_in(settings)
        assert not is_taken_over(settings)
    thread.join()
    assert events == ["the stand-in ends", "the other one runs"]


def test_a_stand_in_that_does_not_end_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.live.stream_lock.LOCK_WAIT_S", 0.0)
    with (
        only_one(settings, stand_in=True),
        pytest.raises(StreamError, match="another stream runs"),
        take_over(settings, within_s=0.1),
    ):
        pass


def test_what_a_killed_stream_left_says_nothing_about_the_next(settings: Settings) -> None:
    live = settings.home / "live"
    live.mkdir()
    (live / "stream.stand-in").touch()
    (live / "stream.take-over").touch()
    assert not stands_in(settings)
    with only_one(settings):
        assert not stands_in(settings)
        assert not is_taken_over(settings)
    with only_one(settings, stand_in=True):
        assert stands_in(settings)
        assert not is_taken_over(settings)
