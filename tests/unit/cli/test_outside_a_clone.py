"""What the command does where evcharge is installed without a clone; tests/unit/test_wheel.py runs a real installation."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from evcharge import components, settings
from evcharge.cli.app import app
from evcharge.dictionary import render
from evcharge.errors import UserError
from evcharge.live.spark_driver import stream_session
from evcharge.settings import Settings, load_settings
from evcharge.stack.health import unhealthy_servers


@pytest.fixture(autouse=True)
def outside_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (settings, components):
        monkeypatch.setattr(module, "IS_CLONE", False)


@pytest.mark.parametrize(
    "arguments",
    [("up",), ("stack", "up"), ("stack", "status"), ("stack", "preflight"), ("dictionary", "--check")],
    ids=" ".join,
)
def test_what_only_a_clone_can_do_says_so(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*arguments])
    assert isinstance(done.exception, UserError)
    assert "needs a clone of the project" in str(done.exception)


def test_the_live_stream_needs_a_clone(settings: Settings) -> None:
    with pytest.raises(UserError, match="the live stream needs a clone"):
        stream_session(settings)


def test_the_dictionary_is_printed() -> None:
    assert CliRunner().invoke(app, ["dictionary"]).output == render()


def test_external_servers_can_still_be_asked(settings: Settings) -> None:
    external = load_settings(home=settings.home, minio_endpoint="http://127.0.0.1:1")
    (line,) = unhealthy_servers(external, ["minio"])
    assert "minio at port 1 does not answer" in line
