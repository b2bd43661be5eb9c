"""The EV models that a trip can be planned for: MongoDB's, or the bundled ones while MongoDB does not answer."""

from __future__ import annotations

import difflib
import time
import unicodedata
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from evcharge.connections import require_listener
from evcharge.errors import UserError
from evcharge.reference.bundled import bundled_models
from evcharge.reference.mongodb import available, ev_models
from evcharge.settings import Settings
from evcharge.trips.charging import Car

#: Models change when somebody loads some. A MongoDB that did not answer is asked again sooner.
_KEPT_S, _ASKED_AGAIN_S = 300.0, 30.0
_LONGEST_NAME = 200
_KNOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class EvModels:
    """The models by maker and name. `note` says why these are only the bundled ones."""

    cars: tuple[Car, ...]
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"models": [car.to_json() for car in self.cars], "note": self.note}

    def named(self, text: str) -> Car:
        """The model with this id or with this make and model, in any case; a part of the name is enough if it is the only one.

        Raises UserError, which names the nearest models.
        """
        if len(text) > _LONGEST_NAME:
            raise UserError(f"a model's name has at most {_LONGEST_NAME} characters; this text has {len(text):,}")
        wanted = _plain(text)
        if not wanted:
            raise UserError(f"a model is needed; there are {_listed(self.cars[:12])}")
        exact = [car for car in self.cars if wanted in (_plain(car.ev_model_id), _plain(car.name))]
        words = set(wanted.split())
        found = exact or [car for car in self.cars if words <= set(_plain(f"{car.name} {car.ev_model_id}").split())]
        if len(found) == 1 or exact:
            return found[0]
        if found:
            raise UserError(f"{len(found)} models are called {text.strip()!r}: {_listed(found[:8])}")
        names = {_plain(name): car for car in self.cars for name in (car.ev_model_id, car.model, car.name)}
        near = difflib.get_close_matches(wanted, names, n=6, cutoff=0.5)
        cars = list(dict.fromkeys(names[name] for name in near))[:3]
        hint = f"did you mean {_listed(cars)}?" if cars else f"there are {_listed(self.cars[:12])}"
        raise UserError(f"no EV model {text.strip()!r}; {hint}")


@dataclass
class EvModelsKept:
    """The models, read again when they are old."""

    settings: Settings
    _found: EvModels | None = None
    _until: float = 0.0
    _reading: Lock = field(default_factory=Lock)

    def get(self) -> EvModels:
        with self._reading:
            if self._found is None or time.monotonic() > self._until:
                self._found = read_models(self.settings)
                self._until = time.monotonic() + (_KEPT_S if self._found.note is None else _ASKED_AGAIN_S)
            return self._found


def read_models(settings: Settings) -> EvModels:
    """MongoDB's models; the bundled ones, with a note, if it does not answer or has none."""
    rows: list[dict[str, Any]] = []
    if not available(settings):
        note = "these are the bundled EV models: this platform runs without MongoDB"
    else:
        try:
            require_listener(settings.mongodb_host.partition(",")[0], _KNOCK_S)
            rows = ev_models(settings)
            note = "these are the bundled EV models: MongoDB has none"
        except (OSError, UserError):
            note = "these are the bundled EV models: MongoDB does not answer"
    cars = [Car.of(row) for row in rows or bundled_models() if row["usable_kwh"] and row["consumption_kwh_per_100km"]]
    return EvModels(tuple(sorted(cars, key=lambda car: car.name.casefold())), None if rows else note)


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in letters).split())


def _listed(cars: Any) -> str:
    return ", ".join(f'"{car.name}" ({car.ev_model_id})' for car in cars)
