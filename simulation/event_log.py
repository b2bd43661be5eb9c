"""Notes what happens while the simulation runs, in numbers, and turns the notes of an interval into columns at once.

A meter value is not a step of the simulation. While a car charges along one curve, all its meter values follow from the
begin of that stretch and are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.charging import ChargeCurve, CurveTable
from simulation.events import COLUMNS, SCHEMA_VERSION, EventBatch, Totals
from simulation.network import Station

EVENT_TYPES = ("queued", "abandoned", "started", "meter", "suspended", "resumed", "stopped", "faulted")
QUEUED, ABANDONED, STARTED, METER, SUSPENDED, RESUMED, STOPPED, FAULTED = range(len(EVENT_TYPES))

# OCPP 2.0.1 ReasonEnumType; the first stands for no reason.
REASONS = (
    None,
    "EVDisconnected",
    "SOCLimitReached",
    "EnergyLimitReached",
    "StoppedByEV",
    "GroundFault",
    "PowerLoss",
    "Local",
    "Remote",
    "Other",
)
REASON_CODE = {reason: code for code, reason in enumerate(REASONS)}

NONE = float("nan")
NO_EVSE = -1

# A note has one number for the visit and for the try of that visit to start.
TRIES = 8
_SUFFIXES = ("", *"bcdefgh")

_WIDTH = 15
#: Time (ms), vehicle, station, EVSE, visit and try, sequence, event type, reason, power (kW), energy (kWh), state of charge
#: (0 to 1), started at (ms), idle (ms), wait (ms), state of charge at the start (0 to 1).
Note = tuple[float, ...]
#: First time (ms), vehicle, station, EVSE, visit and try, first sequence, interval (ms), count, curve, begin of the stretch
#: (ms), seconds from empty at its begin, target state of charge, state of charge at the session's start.
MeterRun = tuple[float, ...]

_MASK = (1 << 64) - 1
_ODD = np.random.Generator(np.random.PCG64(0)).integers(0, 2**63, (2, _WIDTH), dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)


class Recorder:
    """The notes since the last `batch`."""

    def __init__(self, stations: Sequence[Station], vehicles: Sequence[tuple[str, str]], session_prefix: str) -> None:
        """`vehicles` are pairs of ev_id and ev_model_id."""
        evses = [evse for station in stations for evse in station.evses]
        self._stations = _strings([station.station_id for station in stations])
        # The last entry is that of NO_EVSE.
        self._evses = _strings([*(evse.evse_id for evse in evses), None])
        self._connectors = _strings([*(evse.connector_id for evse in evses), None])
        self._ev_ids = _strings([ev_id for ev_id, _ in vehicles])
        self._ev_models = _strings([model for _, model in vehicles])
        self._numbers = [f"{session_prefix}-{number:05d}-" for number in range(1, len(vehicles) + 1)]
        self._event_types, self._reasons = _strings(EVENT_TYPES), _strings(REASONS)
        self._curves = CurveTable()
        self._notes: list[Note] = []
        self._runs: list[MeterRun] = []
        #: Notes one event, with the values of `Note`.
        self.note: Callable[[Note], None] = self._notes.append
        #: Notes meter values at equal intervals, with the values of `MeterRun`.
        self.meter: Callable[[MeterRun], None] = self._runs.append
        #: Gives the number by which meter runs name a curve.
        self.curve: Callable[[ChargeCurve], int] = self._curves.add

    def batch(self, totals: Totals) -> EventBatch:
        """The events since the last call, in time order. Adds them to `totals`."""
        notes = np.array(self._notes, dtype=np.float64).reshape(-1, _WIDTH)
        # Within one millisecond the steps come first, in the order in which they were taken; then meter values by EVSE.
        place = np.zeros(len(notes))
        if self._runs:
            meters = self._meter_values()
            place = np.concatenate([place, meters[:, 3] + 1])
            notes = np.concatenate([notes, meters])
        self._notes.clear()
        self._runs.clear()
        notes = notes[np.lexsort((place, notes[:, 0]))]
        columns = self._columns(notes)
        self._add(totals, notes, columns["energy_delivered_kwh"])
        return EventBatch(columns)

    def _meter_values(self) -> NDArray[np.float64]:
        runs = np.array(self._runs, dtype=np.float64)
        count = runs[:, 7].astype(np.int64)
        run = np.repeat(np.arange(len(runs)), count)
        step = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
        of = runs[run]
        at_ms = of[:, 0] + step * of[:, 6]
        curve = of[:, 8].astype(np.int64)
        soc, power_kw = self._curves.after(curve, of[:, 10] + (at_ms - of[:, 9]) / 1000, of[:, 11])
        values = np.full((len(run), _WIDTH), NONE)
        values[:, 0] = at_ms
        values[:, 1:5] = of[:, 1:5]
        values[:, 5] = of[:, 5] + step
        values[:, 6] = METER
        values[:, 7] = 0
        values[:, 8] = power_kw
        values[:, 9] = (soc - of[:, 12]) * self._curves.kwh_per_soc(curve)
        values[:, 10] = soc
        return values

    def _columns(self, notes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        vehicle, station, evse, visit, sequence, event_type, reason = notes[:, 1:8].astype(np.int64).T
        numbers = self._numbers
        sessions = [
            f"{numbers[v]}{n // TRIES}{_SUFFIXES[n % TRIES]}"
            for v, n in zip(vehicle.tolist(), visit.tolist(), strict=True)
        ]
        event_ids = [f"{session}-{n}" for session, n in zip(sessions, sequence.tolist(), strict=True)]
        return dict(
            zip(
                COLUMNS,
                (
                    np.full(len(notes), SCHEMA_VERSION),
                    _strings(event_ids),
                    _strings(sessions),
                    sequence,
                    self._stations[station],
                    self._evses[evse],
                    self._connectors[evse],
                    self._ev_ids[vehicle],
                    self._ev_models[vehicle],
                    self._event_types[event_type],
                    notes[:, 0].astype(np.int64).view("datetime64[ms]"),
                    np.round(notes[:, 8], 3),
                    np.round(notes[:, 9], 3),
                    np.round(notes[:, 10] * 100, 2),
                    self._reasons[reason],
                    _instants(notes[:, 11]),
                    notes[:, 12] / 1000,
                    notes[:, 13] / 1000,
                    np.round(notes[:, 14] * 100, 2),
                ),
                strict=True,
            )
        )

    def _add(self, totals: Totals, notes: NDArray[np.float64], energy_kwh: NDArray[np.float64]) -> None:
        counts = np.bincount(notes[:, 6].astype(np.int64), minlength=len(EVENT_TYPES)).tolist()
        totals.events_by_type.update({name: n for name, n in zip(EVENT_TYPES, counts, strict=True) if n})
        stopped = notes[:, 6] == STOPPED
        totals.energy_wh += int(np.rint(energy_kwh[stopped] * 1000).sum())
        first, second = _hashes(notes, energy_kwh)
        totals.hashes = (totals.hashes[0] + first) & _MASK, (totals.hashes[1] + second) & _MASK


def _strings(values: Sequence[str | None]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)


def _instants(ms: NDArray[np.float64]) -> NDArray[np.datetime64]:
    instants = np.nan_to_num(ms).astype(np.int64).view("datetime64[ms]")
    instants[np.isnan(ms)] = np.datetime64("NaT")
    return instants


def _hashes(notes: NDArray[np.float64], energy_kwh: NDArray[np.float64]) -> tuple[int, int]:
    """Sums of two hashes per event over the values of the messages: whole ms, W, Wh and hundredths of a percent.

    A hash is a sum of the values times random odd numbers (multiply-add, Dietzfelbinger 1996). The last step of SplitMix64
    (Steele, Lea and Flood 2014) mixes it, so that sums over events do not cancel.
    """
    scale = np.ones(_WIDTH)
    scale[[8, 9]], scale[[10, 14]] = 1000, 10_000
    whole = np.rint(np.nan_to_num(notes * scale, nan=-1.0)).astype(np.int64)
    whole[:, 9] = np.rint(np.nan_to_num(energy_kwh * 1000, nan=-1.0)).astype(np.int64)
    words = whole.view(np.uint64)
    sums = []
    for odd in _ODD:
        mixed = (words * odd).sum(axis=1, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        sums.append(int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64)))
    return sums[0], sums[1]
