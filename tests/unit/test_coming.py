"""The file that says what of a starting platform is still to come, and what readers make of it."""

from __future__ import annotations

import os
import time

import pytest

from evcharge import coming as module
from evcharge.coming import Coming, Part, coming, forget_coming, read_coming
from evcharge.settings import Settings

PARTS = {"minio": ("MinIO", "waits"), "load": ("the first day in the warehouse", "waits")}


def keep(settings: Settings) -> Coming:
    kept = Coming(settings, lambda _name, _doing: None)
    kept.expect(PARTS)
    return kept


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DETAIL_EVERY_S", -1.0)


def test_nothing_is_to_come_on_a_platform_that_never_started(settings: Settings) -> None:
    assert read_coming(settings) == []


def test_a_part_is_fetched_built_started_and_there(settings: Settings) -> None:
    reported: list[tuple[str, str]] = []
    with coming(settings, lambda name, doing: reported.append((name, doing))) as kept:
        kept.expect(PARTS)

        def minio() -> Part | None:
            return next((part for part in read_coming(settings) if part.what == "MinIO"), None)

        states = []
        for doing in ("building: x/y", "ready", "waits for kafka", "not ready yet: no listener", "ready"):
            kept("minio", doing)
            states.append(part.state if (part := minio()) else None)
        assert states == ["building", "waits", "waits", "starting", None]
        assert read_coming(settings) == [Part("the first day in the warehouse", "waits")]
        kept("kafka", "not ready yet")
        kept.arrived("load")
        assert read_coming(settings) == []
    assert reported[0] == ("minio", "building: x/y")
    assert reported[-1] == ("kafka", "not ready yet")


def test_a_load_stays_a_load_while_its_days_are_counted(settings: Settings) -> None:
    with coming(settings, lambda _name, _doing: None) as kept:
        kept.expect({"load": ("the warehouse", "loading")})
        kept("load", "2 days wait")
        assert read_coming(settings) == [Part("the warehouse", "loading", "2 days wait")]


def test_after_an_interruption_a_reader_learns_how_to_continue(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOUCHED_EVERY_S", 0.01)
    with coming(settings, lambda _name, _doing: None) as kept:
        kept.expect(PARTS)
        os.utime(settings.home / "coming.json", (0, 0))
        deadline = time.monotonic() + 10
        while any(part.detail for part in read_coming(settings)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    os.utime(settings.home / "coming.json", (0, 0))
    assert [part.state for part in read_coming(settings)] == ["waits", "waits"]
    assert all("run it again" in part.detail for part in read_coming(settings))
    forget_coming(settings)
    assert read_coming(settings) == []


def test_a_file_of_another_version_says_nothing(settings: Settings) -> None:
    settings.home.mkdir(exist_ok=True)
    for content in ("{", "[1]", '[{"what": "x", "is": "y"}]'):
        (settings.home / "coming.json").write_text(content)
        assert read_coming(settings) == []


def test_the_file_is_never_seen_half_written(settings: Settings) -> None:
    keep(settings)
    assert not list(settings.home.glob("coming.new"))
