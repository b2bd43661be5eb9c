from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import bcrypt
import pytest
from pydantic import SecretStr

from evcharge.errors import UserError
from evcharge.queries.dashboard import read_settings, settings_file
from evcharge.settings import Settings, load_settings, stack_file
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.errors import StackError
from evcharge.stack.files import SOCKET_PATH_LIMIT, socket_path
from evcharge.stack.preflight import PORT_OWNERS
from evcharge.stack.programs import unprivileged
from evcharge.stack.servers import (
    FULL_ONLY,
    LIVE_STORES,
    SERVERS,
    STORES,
    definitions,
    in_profile,
    missing_without,
    prepare,
)
from evcharge.stack.servers.base import SERVER_USER_ID
from evcharge.stack.supervisor import render

RENDERED = {"minio", "lakefs", "clickhouse", "spark-connect", "dagster-webserver", *LIVE_STORES}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return ensure_credentials(load_settings(home=tmp_path / "home", port_offset=100))


def sections(settings: Settings) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(render(settings, Path("/run/s.sock"), definitions(settings).values()).replace("%%", "%"))
    return parser


def digests(settings: Settings) -> dict[str, str]:
    return {name: definitions(settings)[name].digest() for name in LIVE_STORES}


def test_every_port_belongs_to_a_server() -> None:
    assert PORT_OWNERS.keys() == stack_file()["ports"].keys()
    assert set(PORT_OWNERS.values()) <= definitions(load_settings()).keys()


def test_every_server_has_a_program_that_restarts_and_is_started_by_us(settings: Settings) -> None:
    parsed = sections(settings)
    for name in definitions(settings):
        program = parsed[f"program:{name}"]
        # a stream that was relieved ends without an error
        assert program["autorestart"] == ("unexpected" if name == "stream" else "true")
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


@pytest.mark.slow
def test_every_listener_is_on_loopback(settings: Settings) -> None:
    prepare(settings, RENDERED)
    lake = (settings.home / "lakefs" / "lakefs.yaml").read_text()
    assert f'listen_address: "127.0.0.1:{18000 + 100}"' in lake
    spark = (settings.home / "spark" / "spark-defaults.conf").read_text()
    assert re.search(r"binding.address\s+127.0.0.1\n", spark)
    assert "network.host: 127.0.0.1\n" in (settings.home / "elasticsearch" / "config" / "elasticsearch.yml").read_text()
    tables = (settings.home / "cassandra" / "cassandra.yaml").read_text()
    assert "listen_address: 127.0.0.1\n" in tables
    assert "rpc_address: 127.0.0.1\n" in tables
    assert 'host = "127.0.0.1"\n' in (settings.home / "mongodb" / "secantusd.toml").read_text()
    for name in ("minio", "dagster-webserver"):
        command = " ".join(definitions(settings)[name].command)
        assert "127.0.0.1" in command
        assert "0.0.0.0" not in command


@pytest.mark.slow
def test_rendered_files_with_secrets_are_private_and_complete(settings: Settings) -> None:
    prepare(settings, RENDERED)
    for file in (
        *("clickhouse/users.xml", "spark/spark-defaults.conf", "lakefs/lakefs.yaml"),
        *("elasticsearch/config/users", "cassandra/cassandra.yaml", "mongodb/secantusd.toml"),
    ):
        path = settings.home / file
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "${" not in path.read_text()


def test_clickhouse_users_have_only_hashes_and_the_analyst_can_only_read(settings: Settings) -> None:
    prepare(settings, {"clickhouse"})
    text = (settings.home / "clickhouse" / "users.xml").read_text()
    assert settings.clickhouse_password.get_secret_value() not in text
    root = ElementTree.fromstring(text)
    assert root.findtext("users/analyst/profile") == "analyst"
    assert root.findtext("profiles/analyst/readonly") == "2"
    assert root.findtext("users/analyst/grants/query") == "GRANT SELECT ON evcharge.*"
    assert root.findtext("users/dashboard/profile") == "dashboard"
    assert root.findtext("profiles/dashboard/readonly") == "2"
    assert [query.text for query in root.iterfind("users/dashboard/grants/query")] == ["GRANT SELECT ON evcharge.*"]


def test_elasticsearch_has_two_users_whose_passwords_are_hashed(settings: Settings) -> None:
    prepare(settings, {"elasticsearch"})
    config = settings.home / "elasticsearch" / "config"
    hashes = dict(line.split(":") for line in (config / "users").read_text().split())
    secrets = {"evcharge": settings.elasticsearch_password, "dashboard": settings.dashboard_elasticsearch_password}
    assert hashes.keys() == secrets.keys()
    for user, hashed in hashes.items():
        assert hashed.startswith("$2a$")
        assert bcrypt.checkpw(secrets[user].get_secret_value().encode(), hashed.encode())
    assert (config / "users_roles").read_text() == "superuser:evcharge\ndashboard:dashboard\n"
    privileges = re.findall(r"privileges: (.*)", (config / "roles.yml").read_text())
    assert privileges == ['["read", "view_index_metadata"]']


def test_the_dashboard_gets_its_own_logins_and_no_secret_of_the_platform(settings: Settings) -> None:
    own = load_settings(home=settings.home, port_offset=100, state_stale_after_h=6)
    prepare(own, {"dashboard"})
    path = settings_file(settings.home, own.dashboard_port)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = dict(line.split("=") for line in settings.credentials_file.read_text().split())
    text = path.read_text()
    held = {name for name, secret in secrets.items() if secret in text}
    assert held == {
        f"EVCHARGE_DASHBOARD_{store}_PASSWORD" for store in ("ELASTICSEARCH", "CASSANDRA", "CLICKHOUSE", "MONGODB")
    }
    read = read_settings(path)
    assert (read.elasticsearch_user, read.cassandra_user, read.clickhouse_user) == ("dashboard",) * 3
    assert read.elasticsearch_password == settings.dashboard_elasticsearch_password
    assert (read.state_stale_after_h, read.elasticsearch_url) == (6, own.elasticsearch_url)
    assert not read.is_external("elasticsearch")


def test_a_dashboard_on_another_port_has_settings_of_its_own(settings: Settings) -> None:
    prepare(settings, {"dashboard"})
    tried = settings.model_copy(update={"dashboard_port": 13_999, "dashboard_requests_per_minute": 7})
    prepare(tried, {"dashboard"})
    assert read_settings(settings_file(settings.home, 13_999)).dashboard_requests_per_minute == 7
    assert read_settings(settings_file(settings.home, settings.dashboard_port)).dashboard_requests_per_minute != 7


def test_the_dashboard_s_settings_of_an_older_version_go(settings: Settings) -> None:
    prepare(settings, {"dashboard"})
    dashboard = definitions(settings)["dashboard"]
    old = dashboard.folder / "settings.json"
    old.write_text("{}")
    for _ in range(2):
        dashboard.take_along(print)
        assert not old.exists()
    assert settings_file(settings.home, settings.dashboard_port).exists()


@pytest.mark.parametrize("place", ["a.b:x", "a.b:99999", "a.b:0", "-", "...", "a.b:", "user:pw@a.b"])
def test_a_tile_server_has_a_name_and_perhaps_a_port(settings: Settings, place: str) -> None:
    load_settings(home=settings.home, dashboard_tile_url="https://tiles.example.org:8443/{z}/{x}/{y}.png")
    with pytest.raises(UserError):
        load_settings(home=settings.home, dashboard_tile_url=f"https://{place}/{{z}}/{{x}}/{{y}}.png")


def test_the_dashboard_does_not_inherit_secrets(settings: Settings) -> None:
    dashboard = definitions(settings)["dashboard"]
    secrets = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    kept = {f"EVCHARGE_{name.upper()}": "secret" for name in secrets} | {"PATH": os.environ["PATH"], "KEPT": "1"}
    words = dashboard.command[: dashboard.command.index(sys.executable)]
    shown = subprocess.run([*words, "env"], env=kept, capture_output=True, text=True, check=True, timeout=10).stdout
    assert "KEPT=1" in shown
    assert "secret" not in shown
    assert not [value for value in dashboard.environment.values() if value in dashboard.command]


def test_a_platform_without_logins_for_the_dashboard_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no logins for the dashboard yet: `make up`"):
        definitions(load_settings(home=tmp_path))["dashboard"].prepare()


def test_the_dashboard_waits_for_no_server(settings: Settings) -> None:
    assert definitions(settings)["dashboard"].after == ()


@pytest.mark.slow
def test_only_a_changed_configuration_restarts_the_live_stores(settings: Settings) -> None:
    prepare(settings, set(LIVE_STORES))
    before = digests(settings)
    assert len(set(before.values())) == len(LIVE_STORES)
    prepare(settings, set(LIVE_STORES))
    assert digests(settings) == before
    moved = load_settings(home=settings.home, port_offset=200)
    prepare(moved, set(LIVE_STORES))
    assert all(digest != before[name] for name, digest in digests(moved).items())


@pytest.mark.slow
def test_the_live_stores_ask_for_passwords(settings: Settings) -> None:
    prepare(settings, set(LIVE_STORES))
    assert (
        "xpack.security.enabled: true" in (settings.home / "elasticsearch" / "config" / "elasticsearch.yml").read_text()
    )
    assert "authenticator: PasswordAuthenticator" in (settings.home / "cassandra" / "cassandra.yaml").read_text()
    assert "auth = true" in (settings.home / "mongodb" / "secantusd.toml").read_text()


def test_root_starts_servers_as_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert unprivileged(SERVER_USER_ID) == ()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    command = " ".join(unprivileged(SERVER_USER_ID))
    assert "--reuid 9200 --regid 9200 --clear-groups" in command
    assert "--bounding-set -all" in command


def test_stack_toml_has_the_locked_version_of_secantusdb() -> None:
    assert importlib.metadata.version("SecantusDB") == stack_file()["versions"]["mongodb"]


def test_a_small_platform_runs_without_the_live_stores(settings: Settings) -> None:
    small = load_settings(home=settings.home, profile="small")
    assert definitions(small).keys() - in_profile(small).keys() == FULL_ONLY.keys()
    assert FULL_ONLY.keys() - LIVE_STORES.keys() == {"dashboard"}
    assert in_profile(settings).keys() == definitions(settings).keys()
    own = load_settings(home=settings.home, profile="small", mongodb_host="db:27017")
    assert LIVE_STORES.keys() & in_profile(own).keys() == {"mongodb"}


def test_one_line_lists_what_a_small_platform_lacks() -> None:
    line = missing_without(list(FULL_ONLY))
    for lacking in (*FULL_ONLY, "nearby", "traffic", "hourly usage", "reference data", "live stream", "make up"):
        assert lacking in line
    assert "\n" not in line
    assert "live stream" not in missing_without(["mongodb"])


def test_servers_start_after_servers_that_exist(settings: Settings) -> None:
    known = definitions(settings)
    assert set(SERVERS) <= known.keys()
    for service in known.values():
        assert set(service.after) <= known.keys()
    assert known["dagster-code"].after == STORES


def test_a_long_home_puts_the_socket_into_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    home = tmp_path / ("x" * 120)
    assert len(os.fsencode(socket_path(home, "supervisor"))) <= SOCKET_PATH_LIMIT
    assert socket_path(home, "supervisor").is_relative_to("/run/user/1")
    assert socket_path(Path("/home/me/evcharge/.evcharge"), "supervisor") == Path(
        "/home/me/evcharge/.evcharge/supervisor.sock"
    )


def test_a_quote_in_a_setting_is_refused(settings: Settings) -> None:
    odd = load_settings(home=settings.home, minio_access_key='a"b')
    with pytest.raises(StackError, match="quotes"):
        render(odd, Path("/run/s.sock"), definitions(odd).values())
