from __future__ import annotations

import threading
from pathlib import Path

import pytest

from evcharge.components import Component
from evcharge.settings import load_settings
from evcharge.stack.errors import StackError
from evcharge.stack.provision import Provisioner
from evcharge.stack.servers import components


def fetched_by(monkeypatch: pytest.MonkeyPatch, content: str | None) -> list[str]:
    """Makes `_fetch` write `content`, or nothing if None. Returns the list that gets each fetched component's name."""
    fetched: list[str] = []

    def fetch(_self: Provisioner, component: Component, folder: Path) -> None:
        fetched.append(component.name)
        if content is not None:
            (folder / component.result).parent.mkdir(parents=True, exist_ok=True)
            (folder / component.result).write_text(content)

    monkeypatch.setattr(Provisioner, "_fetch", fetch)
    return fetched


def provisioner(tmp_path: Path) -> Provisioner:
    return Provisioner(load_settings(home=tmp_path / "home", cache=tmp_path / "cache"), lambda _name, _doing: None)


def test_a_cached_component_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = fetched_by(monkeypatch, "program")
    provisioner(tmp_path).run(["minio", "kafka"])
    assert sorted(fetched) == ["kafka", "minio"]
    provisioner(tmp_path).run(["minio", "kafka"])
    assert len(fetched) == 2
    assert components()["minio"].path(tmp_path / "cache").read_text() == "program"


def test_two_clones_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = fetched_by(monkeypatch, "program")
    clones = [threading.Thread(target=provisioner(tmp_path).run, args=(["lakefs"],)) for _ in range(4)]
    for clone in clones:
        clone.start()
    for clone in clones:
        clone.join()
    assert fetched == ["lakefs"]


def test_a_failed_fetch_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched_by(monkeypatch, None)
    with pytest.raises(StackError, match="minio"):
        provisioner(tmp_path).run(["minio"])
    assert not components()["minio"].is_cached(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "minio").iterdir()] == [".lock"]


def test_the_remains_of_a_killed_fetch_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "cache" / "minio" / ".new-x" / "content"
    left.mkdir(parents=True)
    fetched_by(monkeypatch, "program")
    provisioner(tmp_path).run(["minio"])
    assert not left.parent.exists()


def test_another_version_or_build_file_has_another_folder(tmp_path: Path) -> None:
    kafka = components()["kafka"]
    newer = Component("kafka", "9.9.9", "jars", kafka.build_files)
    assert newer.folder(tmp_path) != kafka.folder(tmp_path)
    assert Component("kafka", kafka.version, "jars", ("spark/pom.xml",)).folder(tmp_path) != kafka.folder(tmp_path)
