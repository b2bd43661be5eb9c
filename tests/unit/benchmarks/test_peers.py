"""Peers that run in an environment of their own: what is told when they cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.peers import PeerMissingError, python_with


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "PROJECT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    return tmp_path / "benchmarks" / "peer.py"


def test_a_peer_is_given_json_and_answers_in_json(script: Path) -> None:
    script.write_text("import json, sys\nprint(json.dumps({'sum': sum(json.load(sys.stdin)['numbers'])}))\n")
    assert peers._told(Path(sys.executable), "peer.py", {"numbers": [1, 2]}, 60) == {"sum": 3}


def test_a_peer_that_fails_is_told_with_its_last_line(script: Path) -> None:
    script.write_text("raise ValueError('no such topic')\n")
    with pytest.raises(RuntimeError, match=r"^peer\.py failed: ValueError: no such topic$"):
        peers._told(Path(sys.executable), "peer.py", {}, 60)


def test_without_uv_a_peer_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PeerMissingError, match=r"no uv to install quixstreams.* with"):
        python_with(tmp_path, peers.QUIX)


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        (tmp_path / "peers" / "some-other-1.0").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(shutil, "which", lambda name: "/bin/uv")
    monkeypatch.setattr(subprocess, "run", run)
    first, second = (python_with(tmp_path, ("some[other]==1.0",)) for _ in range(2))
    assert first == second == tmp_path / "peers" / "some-other-1.0" / "bin" / "python"
    assert [command[1] for command in commands] == ["venv", "pip"]
    assert commands[1][-1] == "some[other]==1.0"
