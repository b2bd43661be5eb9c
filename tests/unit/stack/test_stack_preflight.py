from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from evcharge.settings import load_settings
from evcharge.stack.errors import StackError
from evcharge.stack.preflight import (
    Check,
    Verdict,
    check_architecture,
    check_disk,
    check_downloads,
    check_memory,
    check_ports,
    free_offset,
    preflight,
    require,
)
from evcharge.stack.programs import java_command
from evcharge.stack.servers import SERVERS, components


def test_a_wrong_processor_is_reported_with_a_remedy() -> None:
    check = check_architecture("Linux", "aarch64", engine_needed=True)
    assert check.verdict == Verdict.MISSING
    assert "aarch64" in check.found
    assert "EVCHARGE_CLICKHOUSE_HOST" in check.remedy
    assert check_architecture("Linux", "aarch64", engine_needed=False).verdict == Verdict.OK
    assert check_architecture("Darwin", "arm64", engine_needed=False).verdict == Verdict.MISSING


@pytest.mark.parametrize(
    ("available_mb", "small", "full"),
    [(16_000, "ok", "ok"), (8_000, "ok", "note"), (4_000, "note", "missing"), (1_000, "missing", "missing")],
)
def test_memory_by_profile(available_mb: int, small: str, full: str) -> None:
    assert check_memory(available_mb, running=False, profile="small").verdict == small
    assert check_memory(available_mb, running=False, profile="full").verdict == full
    assert check_memory(available_mb, running=True, profile="full").verdict == "ok"


def test_too_little_memory_for_all_servers_suggests_the_small_profile() -> None:
    assert "PROFILE=small" in check_memory(4_000, running=False, profile="full").remedy
    assert "PROFILE" not in check_memory(1_000, running=False, profile="small").remedy


def test_the_small_profile_needs_less(tmp_path: Path) -> None:
    checks = {check.what: check for check in preflight(load_settings(home=tmp_path, profile="small"))}
    assert "mongodb" not in checks
    assert "secantusd" not in checks
    assert "elasticsearch" not in checks["downloads"].found


def test_a_taken_port_is_reported_with_a_free_offset(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, port_offset=free_offset(11_000))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port("lakefs")))
        taken.listen()
        check = check_ports(settings, set(SERVERS), running=set())
        assert check.verdict == Verdict.MISSING
        assert f"{settings.port('lakefs')} (lakefs)" in check.found
        assert check.remedy.startswith("export EVCHARGE_PORT_OFFSET=")
        assert check_ports(settings, set(SERVERS), running={"lakefs"}).verdict == Verdict.OK
        assert check_ports(settings, set(SERVERS) - {"lakefs"}, running=set()).verdict == Verdict.OK


def test_the_port_that_the_user_set_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(home=tmp_path, port_offset=free_offset(11_000), dashboard_port=port)
        assert f"{port} (dashboard)" in check_ports(settings, {"dashboard"}, running=set()).found


def test_a_full_disk_is_reported_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home=tmp_path / "home", cache=tmp_path / "cache")
    assert check_disk(settings, []).verdict == Verdict.OK
    usage = type("Usage", (), {"free": 1_000_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    check = check_disk(settings, list(components().values()))
    assert check.verdict == Verdict.MISSING
    assert "EVCHARGE_CACHE" in check.remedy


def test_downloads_are_added_up() -> None:
    assert check_downloads([]).verdict == Verdict.OK
    found = check_downloads([components()["kafka"], components()["clickhouse"]]).found
    assert found.startswith("225 MB, about 1 minutes")


def test_one_error_reports_everything_missing() -> None:
    checks = [
        Check("java", Verdict.MISSING, "Java is missing", "sudo apt-get install java"),
        Check("git", Verdict.OK, "/usr/bin/git"),
        Check("ports", Verdict.MISSING, "taken", "export X=1"),
    ]
    with pytest.raises(StackError) as caught:
        require(checks)
    assert "sudo apt-get install java" in str(caught.value)
    assert "export X=1" in str(caught.value)
    assert "git" not in str(caught.value)


@pytest.mark.parametrize(("version", "good"), [("1.8.0_402", False), ("11.0.2", False), ("17", True), ("21.0.1", True)])
def test_java_must_be_new_enough(version: str, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    os.chmod(java, 0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if good:
        assert java_command() == str(java)
    else:
        with pytest.raises(StackError, match="apt-get install"):
            java_command()
