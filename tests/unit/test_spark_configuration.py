"""The configuration that both Sparks share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evcharge.settings import load_settings
from evcharge.spark_configuration import spark_configuration


def test_each_spark_has_its_port_its_folder_and_its_own_archive(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    connect = spark_configuration(settings, "connect", tmp_path / "connect", 15002)
    stream = spark_configuration(settings, "stream", tmp_path / "stream")
    assert re.search(r"grpc.binding.port +15002\n", connect)
    assert f"{tmp_path}/stream/local" in stream
    archives = [re.findall(r"Archive\w+=\S+/([a-z]+)-\w+\.jsa ", text) for text in (connect, stream)]
    assert archives == [["connect"], ["stream"]]
    assert "$" not in connect + stream


@pytest.mark.parametrize("option", ["timezone=UTC", "log4j2.configurationFile=", "ArchiveRelocationMode=0"])
def test_both_have_the_options_that_every_spark_needs(option: str, tmp_path: Path) -> None:
    assert option in spark_configuration(load_settings(home=tmp_path), "connect", tmp_path)
