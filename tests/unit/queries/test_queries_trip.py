"""What may be asked about a trip, and which EV model a text means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evcharge.errors import UserError
from evcharge.queries.ev_models import EvModels, EvModelsKept, read_models
from evcharge.queries.trip import TripQuestion
from evcharge.reference.bundled import bundled_models
from evcharge.settings import Settings
from evcharge.trips.charging import Car

MODELS = EvModels(tuple(Car.of(row) for row in bundled_models()))


@pytest.mark.parametrize(
    "values",
    [
        {"soc": 0},
        {"soc": 101},
        {"soc": float("nan")},
        {"soc": float("inf")},
        {"arrive_with": -1},
        {"arrive_with": 91},
        {"stop_with": float("nan")},
        {"reference_consumption": 0},
        {"reference_consumption": float("nan")},
        {"temperature_c": 99},
        {"temperature_c": float("-inf")},
        {"depart_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"depart_at": datetime.fromisoformat("9999-12-31T23:59:59-23:59")},
        {"depart_at": datetime.fromisoformat("0001-01-01T00:00:00+14:00")},
        {"avoid": ("x",) * 101},
        {"avoid": ("x" * 600,)},
        {"avoid": ("",)},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"start": "Seattle", "to": "Portland, OR", "model": "bolt", "soc": 50, **values}
    with pytest.raises(UserError) as error:
        TripQuestion(**asked)
    assert "\n" not in str(error.value)


def test_a_question_is_repeated_in_the_answers_words() -> None:
    departs_at = datetime(2026, 12, 1, 8, tzinfo=UTC) + timedelta(hours=1)
    question = TripQuestion("Seattle", "Portland, OR", "bolt", 50, depart_at=departs_at, avoid=("syn-1",))
    assert question.to_json() == {
        "from": "Seattle",
        "to": "Portland, OR",
        "model": "bolt",
        "soc": 50,
        "arrive_with": 10.0,
        "stop_with": 10.0,
        "reference_consumption": None,
        "temperature_c": None,
        "depart_at": "2026-12-01T09:00:00.000Z",
        "avoid": ["syn-1"],
    }


@pytest.mark.parametrize(
    ("text", "ev_model_id"),
    [
        ("hyundai-ioniq-5", "hyundai-ioniq-5"),
        ("HYUNDAI IONIQ 5 long range", "hyundai-ioniq-5"),
        ("ioniq", "hyundai-ioniq-5"),
        ("Chevrolet Bolt", "chevrolet-bolt"),
        ("ID.4", "volkswagen-id4-77"),
        ("mach-e", "ford-mustang-mach-e"),
        (" tesla model y ", "tesla-model-y-lr"),
    ],
)
def test_a_model_is_found_by_its_id_or_name(text: str, ev_model_id: str) -> None:
    assert MODELS.named(text).ev_model_id == ev_model_id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tesla model 3", "2 models are called"),
        ("hyundai ionik 5", "did you mean"),
        ("Chevrolet Volt", "chevrolet-bolt"),
        ("zzz", "there are"),
        ("", "a model is needed"),
        ("<b>", "no EV model"),
        ("'; DROP TABLE--", "no EV model"),
        ("x" * 201, "at most 200 characters"),
        ("\n\n", "a model is needed"),
    ],
)
def test_a_text_that_is_no_model_is_answered_with_the_nearest(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        MODELS.named(text)
    assert "\n" not in str(error.value)


def test_without_mongodb_there_are_the_bundled_models() -> None:
    small = Settings(profile="small")
    assert [car.ev_model_id for car in read_models(small).cars] == sorted(
        (row["ev_model_id"] for row in bundled_models()), key=lambda name: MODELS.named(name).name.casefold()
    )
    assert "without MongoDB" in (read_models(small).note or "")
    # nobody listens at port 1
    down = EvModelsKept(Settings(mongodb_host="127.0.0.1:1"))
    found = down.get()
    assert "MongoDB does not answer" in (found.note or "")
    assert len(found.cars) == len(MODELS.cars)
    assert down.get() is found
