from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from evcharge.settings import PROJECT, load_settings
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.servers import definitions
from evcharge.stack.servers.dagster import dagster_environment
from evcharge.stack.stack import last_lines, tree_memory_mb


def evcharge(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from evcharge.cli.app import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["preflight", "up", "down", "status", "start", "stop", "restart", "logs", "clean"])
def test_every_command_explains_itself(command: str) -> None:
    done = evcharge("stack", command, "--help", TERM="dumb")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (("stack", "start", "kafke"), {}, "kafke is not a service"),
        (("stack", "start", "kafka"), {}, "the stack is down"),
        (("stack", "stop", "minio"), {"EVCHARGE_MINIO_ENDPOINT": "http://x:9000"}, "minio is external"),
        (("stack", "status"), {"EVCHARGE_KAFKA_PARTITIONS": "no"}, "EVCHARGE_KAFKA_PARTITIONS"),
        (("stack", "logs", "kafka"), {}, "kafka has no log yet"),
        (("stack", "status"), {"EVCHARGE_PROFILE": "tiny"}, "'full' or 'small'"),
        (("stack", "up", "--only", "mongodb"), {"EVCHARGE_PROFILE": "small"}, "mongodb is not in the profile small"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    arguments: tuple[str, ...], environment: dict[str, str], named: str, tmp_path: Path
) -> None:
    done = evcharge(*arguments, EVCHARGE_HOME=str(tmp_path / "home"), **environment)
    assert done.returncode == 1
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_status_says_what_a_small_platform_lacks(tmp_path: Path) -> None:
    done = evcharge("stack", "status", EVCHARGE_HOME=str(tmp_path / "home"), EVCHARGE_PROFILE="small")
    *table, line = done.stdout.splitlines()
    assert "elasticsearch, cassandra, mongodb, dashboard do not run" in line
    assert not any(row.startswith(("elasticsearch", "cassandra", "mongodb")) for row in table)
    found = evcharge("stack", "status", "--json", EVCHARGE_HOME=str(tmp_path / "home"), EVCHARGE_PROFILE="small")
    assert "mongodb" not in {status["service"] for status in json.loads(found.stdout)}


@pytest.mark.slow
def test_down_on_a_platform_that_never_ran_does_nothing(tmp_path: Path) -> None:
    assert evcharge("stack", "down", EVCHARGE_HOME=str(tmp_path / "home")).returncode == 0
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_clean_asks_first(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = evcharge("stack", "clean", EVCHARGE_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert (tmp_path / "home").exists()


def test_memory_of_a_tree_counts_the_children() -> None:
    own = tree_memory_mb(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "x = bytearray(100_000_000); print('there', flush=True); input()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert child.stdout
        child.stdout.readline()
        assert tree_memory_mb(os.getpid()) > own + 90
    finally:
        child.kill()
        child.communicate()


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_lines(log, 3) == []
    log.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert last_lines(log, 2) == ["line 9998", "line 9999"]


@pytest.mark.slow
def test_the_dagster_instance_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import DagsterInstance
    from dagster._core.instance.config import PoolGranularity
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager

    for name, value in dagster_environment(ensure_credentials(load_settings(home=tmp_path))).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.telemetry_enabled
        concurrency = instance.get_concurrency_config()
        assert concurrency.pool_config.pool_granularity == PoolGranularity.OP
        assert concurrency.pool_config.default_pool_limit == 1
        assert concurrency.run_queue_config
        assert concurrency.run_queue_config.max_concurrent_runs == 4


def test_the_workspace_is_the_code_server_of_the_stack(tmp_path: Path) -> None:
    (source,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    settings = load_settings(home=tmp_path, port_offset=100)
    services = definitions(settings)
    socket = services["dagster-daemon"].environment[source["grpc_server"]["socket"]["env"]]
    assert Path(socket).is_relative_to(tmp_path) or "evcharge-" in Path(socket).parent.name
    assert socket in services["dagster-code"].command
    assert (PROJECT / "evcharge_assets" / "definitions.py").exists()
