from __future__ import annotations

import configparser
import os
import re
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evcharge.settings import Settings, load_settings, stack_file
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.errors import StackError
from evcharge.stack.preflight import PORT_OWNERS
from evcharge.stack.services import SERVERS, definitions, prepare
from evcharge.stack.supervisor import SOCKET_PATH_LIMIT, render, socket_path

RENDERED = {"minio", "lakefs", "clickhouse", "spark-connect", "dagster-webserver"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return ensure_credentials(load_settings(home=tmp_path / "home", port_offset=100))


def sections(settings: Settings) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(render(settings, Path("/run/s.sock"), definitions(settings).values()).replace("%%", "%"))
    return parser


def test_every_port_belongs_to_a_service() -> None:
    owners = {PORT_OWNERS.get(name, name) for name in stack_file()["ports"]}
    assert owners <= definitions(load_settings()).keys()


def test_every_service_has_a_program_that_restarts_and_waits_to_be_started(settings: Settings) -> None:
    parsed = sections(settings)
    for name in definitions(settings):
        program = parsed[f"program:{name}"]
        assert program["autorestart"] == "true"
        assert program["autostart"] == "false"
        assert program["stdout_logfile"] == f"{settings.log_dir}/{name}.log"


def test_an_external_server_has_no_program(settings: Settings) -> None:
    external = load_settings(home=settings.home, minio_endpoint="http://storage:9000")
    assert definitions(external)["minio"].external
    assert definitions(external)["minio"].port == 9000
    assert "program:minio" not in sections(external)


def test_no_secret_is_in_a_command_line(settings: Settings) -> None:
    secrets = [line.partition("=")[2] for line in settings.credentials_file.read_text().splitlines()]
    commands = " ".join(part for service in definitions(settings).values() for part in service.command)
    assert not [secret for secret in secrets if secret in commands]


def test_every_listener_is_on_loopback(settings: Settings) -> None:
    prepare(settings, RENDERED)
    lake = (settings.home / "lakefs" / "lakefs.yaml").read_text()
    assert f'listen_address: "127.0.0.1:{18000 + 100}"' in lake
    spark = (settings.home / "spark" / "spark-defaults.conf").read_text()
    assert re.search(r"binding.address\s+127.0.0.1\n", spark)
    for name in ("minio", "dagster-webserver"):
        command = " ".join(definitions(settings)[name].command)
        assert "127.0.0.1" in command
        assert "0.0.0.0" not in command


def test_rendered_files_with_secrets_are_private_and_complete(settings: Settings) -> None:
    prepare(settings, RENDERED)
    for file in ("clickhouse/users.xml", "spark/spark-defaults.conf", "lakefs/lakefs.yaml"):
        path = settings.home / file
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "${" not in path.read_text()


def test_clickhouse_users_carry_hashes_only_and_the_analyst_reads_only(settings: Settings) -> None:
    prepare(settings, {"clickhouse"})
    text = (settings.home / "clickhouse" / "users.xml").read_text()
    assert settings.clickhouse_password.get_secret_value() not in text
    root = ElementTree.fromstring(text)
    assert root.findtext("users/analyst/profile") == "analyst"
    assert root.findtext("profiles/analyst/readonly") == "2"
    assert root.findtext("users/analyst/grants/query") == "GRANT SELECT ON evcharge.*"


def test_services_start_after_services_that_exist(settings: Settings) -> None:
    known = definitions(settings)
    assert set(SERVERS) <= known.keys()
    for service in known.values():
        assert set(service.after) <= known.keys()


def test_a_long_home_puts_the_socket_into_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    home = tmp_path / ("x" * 120)
    assert len(os.fsencode(socket_path(home))) <= SOCKET_PATH_LIMIT
    assert socket_path(home).is_relative_to("/run/user/1")
    assert socket_path(Path("/home/me/evcharge/.evcharge")) == Path("/home/me/evcharge/.evcharge/supervisor.sock")


def test_a_quote_in_a_setting_is_refused(settings: Settings) -> None:
    odd = load_settings(home=settings.home, minio_access_key='a"b')
    with pytest.raises(StackError, match="quotes"):
        render(odd, Path("/run/s.sock"), definitions(odd).values())
