"""Every query of docs/questions.md runs as the analyst on the warehouse's own tables, and the analyst can only read."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest

from evcharge.settings import PROJECT, Settings

QUESTIONS = (PROJECT / "docs" / "questions.md").read_text()
QUERIES = dict(re.findall(r"^## (\d+)\. .*?```sql\n(.*?)```", QUESTIONS, flags=re.MULTILINE | re.DOTALL))
TIMEOUT_S = 60


def ask(settings: Settings, query: str) -> str:
    """Over HTTP, as browsers and DBeaver do; a failed native login would end the hosted engine."""
    request = urllib.request.Request(
        f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/?database={settings.clickhouse_database}",
        data=query.encode(),
        headers={
            "X-ClickHouse-User": settings.analyst_user,
            "X-ClickHouse-Key": settings.analyst_password.get_secret_value(),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None


def test_there_are_ten() -> None:
    assert list(QUERIES) == [str(number) for number in range(1, 11)]
    assert len(re.findall("```sql", QUESTIONS)) == 10


@pytest.mark.parametrize("number", QUERIES)
def test_a_question_is_answered(platform: Settings, number: str) -> None:
    """The columns are those of the printed example."""
    answer = ask(platform, QUERIES[number] + " FORMAT TSVWithNames")
    example = QUESTIONS.split(QUERIES[number], 1)[1].split("| ", 1)[1].splitlines()[0]
    assert answer.splitlines()[0].split("\t") == [name.strip() for name in example.strip("|").split("|")]


def test_the_analyst_only_reads(platform: Settings) -> None:
    with pytest.raises(AssertionError, match=r"READONLY|ACCESS_DENIED"):
        ask(platform, "INSERT INTO dim_vehicle VALUES ('intruder', '', today())")
