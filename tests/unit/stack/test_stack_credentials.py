from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from evcharge.connections import spark_remote_url
from evcharge.settings import Settings, SettingsError, load_settings
from evcharge.stack.credentials import GENERATORS, ensure_credentials


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in GENERATORS:
        monkeypatch.delenv(f"EVCHARGE_{name.upper()}", raising=False)
    return load_settings(home=tmp_path / "home")


def test_only_the_owner_can_read_the_file(settings: Settings) -> None:
    ensure_credentials(settings)
    assert stat.S_IMODE(settings.credentials_file.stat().st_mode) == 0o600


def test_every_secret_setting_is_generated() -> None:
    secrets = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    # the registry's owner issues the first, the user sets the others
    given = {"afdc_api_key", "dagster_password", "dagster_postgres_url", "stream_secret"}
    assert secrets - given | {"lakefs_access_key"} == set(GENERATORS)


def test_the_returned_settings_have_the_secrets(settings: Settings) -> None:
    found = ensure_credentials(settings)
    for name in GENERATORS:
        value = getattr(found, name)
        assert value.get_secret_value() if isinstance(value, SecretStr) else value


def test_a_second_call_changes_nothing(settings: Settings) -> None:
    first = ensure_credentials(settings)
    before = settings.credentials_file.read_text()
    second = ensure_credentials(first)
    assert settings.credentials_file.read_text() == before
    assert second == first


def test_a_missing_secret_is_added_and_the_others_are_kept(settings: Settings) -> None:
    first = ensure_credentials(settings)
    lines = settings.credentials_file.read_text().splitlines(keepends=True)
    settings.credentials_file.write_text("".join(line for line in lines if "SPARK_TOKEN" not in line))
    second = ensure_credentials(load_settings(home=settings.home))
    assert second.spark_token.get_secret_value()
    assert second.spark_token != first.spark_token
    assert second.kafka_password == first.kafka_password


def test_the_environment_overrides_the_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_credentials(settings)
    monkeypatch.setenv("EVCHARGE_KAFKA_PASSWORD", "given")
    assert load_settings(home=settings.home).kafka_password.get_secret_value() == "given"


def test_the_spark_address_contains_the_token(settings: Settings) -> None:
    found = ensure_credentials(settings)
    assert spark_remote_url(found) == f"{found.spark_remote}/;token={found.spark_token.get_secret_value()}"
    given = load_settings(home=settings.home, spark_remote="sc://spark:15002/;token=own")
    assert spark_remote_url(given) == "sc://spark:15002/;token=own"
    with_tls = load_settings(home=settings.home, spark_remote="sc://spark:15002/;use_ssl=true")
    assert spark_remote_url(with_tls).startswith("sc://spark:15002/;use_ssl=true;token=")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("EVCHARGE_KAFKA_PARTITIONS", "none"), ("EVCHARGE_PORT_OFFSET", "-1"), ("EVCHARGE_KAFKE", "x")],
)
def test_a_wrong_setting_is_named_in_one_line(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)
