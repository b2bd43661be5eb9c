from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from evcharge.components import NATIVE, Build, Component, Go, Pages
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
    monkeypatch.setattr(Provisioner, "_modules", lambda *_: None)
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


def test_what_is_begun_goes_on_in_the_background_until_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, go_on = fetched_by(monkeypatch, "program"), threading.Event()
    fetch = Provisioner._fetch

    def slow(self: Provisioner, component: Component, folder: Path) -> None:
        if component.name == "minio":
            assert go_on.wait(10)
        fetch(self, component, folder)

    monkeypatch.setattr(Provisioner, "_fetch", slow)
    with provisioner(tmp_path) as both:
        both.begin(["minio"])
        both.run(["kafka"])
        assert fetched == ["kafka"]
        go_on.set()
        both.wait()
        assert fetched == ["kafka", "minio"]


def test_a_background_build_that_fails_is_an_error_where_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by(monkeypatch, None)
    with provisioner(tmp_path) as both:
        both.begin(["minio"])
        with pytest.raises(StackError, match="minio"):
            both.wait()


def test_go_modules_are_fetched_at_once_and_before_their_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str, bool]] = []
    both_fetch = threading.Barrier(2)

    def command(
        _self: Provisioner,
        component: Component,
        words: list[str],
        doing: str,
        cwd: Path,
        *_: object,
        behind: bool = False,
    ) -> None:
        assert (cwd / "go.mod").is_file()
        # before the wait: after it, one may be built before the other thread goes on
        ran.append((component.name, doing, behind))
        if doing == "fetching modules":
            both_fetch.wait(10)
        else:
            Path(words[words.index("-o") + 1]).touch()

    monkeypatch.setattr(Provisioner, "_command", command)
    monkeypatch.setattr("evcharge.stack.provision.go_command", lambda: "/x/go")
    provisioner(tmp_path).run(["minio", "lakefs"])
    assert {name for name, doing, behind in ran[:2] if doing == "fetching modules" and not behind} == {
        "minio",
        "lakefs",
    }
    assert ran[2:] == [("minio", "building", True), ("lakefs", "building", True)]


@pytest.mark.parametrize("name", ["minio", "lakefs"])
def test_a_go_component_is_built_in_its_pinned_version(name: str) -> None:
    component = components()[name]
    assert isinstance(component.source, Go)
    lines = [line.split() for line in (NATIVE / component.build_files[0]).read_text().splitlines()]
    package = f"{component.source.package}/"
    assert [words[1] for words in lines if len(words) > 2 and package.startswith(f"{words[0]}/")] == [
        f"v{component.version.removeprefix('v')}"
    ]


def test_an_interruption_ends_a_build_with_all_its_processes(tmp_path: Path) -> None:
    build = Component("slow", "1", "result", source=Go("x"))
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep 60 & echo $! >> {pids}; wait"
    with provisioner(tmp_path) as both:
        running = threading.Thread(target=lambda: suppressed(both, build, ["sh", "-c", script]))
        running.start()
        deadline = time.monotonic() + 10
        while not pids.exists() or len(pids.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    running.join(10)
    for pid in map(int, pids.read_text().split()):
        assert state_of(pid) in ("gone", "Z")


class SetMeanwhile(threading.Event):
    """Not set when it is asked first, and set from then on."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > 1


def test_a_build_that_begins_during_an_interruption_is_ended_too(tmp_path: Path) -> None:
    interrupted = provisioner(tmp_path)
    interrupted._stopping = SetMeanwhile()
    began = time.monotonic()
    with pytest.raises(StackError, match="building failed"):
        interrupted._command(Component("slow", "1", "result", source=Go("x")), ["sleep", "60"], "building")
    assert time.monotonic() - began < 30


def suppressed(provisioner: Provisioner, component: Component, command: list[str]) -> None:
    with suppress(StackError):
        provisioner._command(component, command, "building")


def state_of(pid: int) -> str:
    """A process's state as proc(5) has it; a process that ends takes an instant."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "gone"
        if state == "Z":
            return state
        time.sleep(0.01)
    return state


def test_pages_are_built_anew_where_their_source_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "web", tmp_path / "static"
    (source / "src").mkdir(parents=True)
    (source / "package-lock.json").write_text("{}")
    (source / "src" / "map.ts").write_text("one")
    pages = Pages("pages", "source", "static", source=Build(source), target=target)
    ran: list[str] = []

    def command(_self: Provisioner, _pages: Component, words: list[str], *_: object) -> None:
        ran.append(words[-1] if words[-1] == "build" else "ci")
        (source / "node_modules").mkdir(exist_ok=True)
        if words[-1] == "build":
            target.mkdir(exist_ok=True)

    monkeypatch.setattr(Provisioner, "_command", command)
    monkeypatch.setattr("evcharge.stack.provision.npm_command", lambda: ["/x/npm"])

    def build() -> list[str]:
        ran.clear()
        if not pages.is_cached(tmp_path):
            provisioner(tmp_path)._provision(pages)
        assert pages.is_cached(tmp_path)
        return list(ran)

    assert build() == ["ci", "build"]
    assert build() == []
    (source / "src" / "map.ts").write_text("two")
    assert build() == ["build"]
    (source / "package-lock.json").write_text('{"x": 1}')
    assert build() == ["ci", "build"]
    (target).rmdir()
    assert build() == ["build"]


def test_another_version_or_build_file_has_another_folder(tmp_path: Path) -> None:
    kafka = components()["kafka"]
    newer = Component("kafka", "9.9.9", "jars", kafka.build_files)
    assert newer.folder(tmp_path) != kafka.folder(tmp_path)
    assert Component("kafka", kafka.version, "jars", ("spark/pom.xml",)).folder(tmp_path) != kafka.folder(tmp_path)
