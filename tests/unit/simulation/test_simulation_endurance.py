"""A run resumes in another process, the ledger shows any change, and long runs need no more memory than short ones."""

import gc
import json
import subprocess
import sys
import tracemalloc
from datetime import datetime, timedelta
from hashlib import sha256

import numpy as np
import pytest
from small_sites import MONDAY

from evcharge.simulated.offline_run import Scenario, simulate
from simulation import EventBatch, Simulation, Totals
from simulation.clock import _slot_offset_ms
from simulation.event_log import Recorder
from simulation.profile import SHIPPED, shipped

#: Odd instants; the last one ends the run.
CUTS_MS = (1, 7_200_001, 31_111_111, 61_234_567, 100_000_003, 172_799_999, 216_000_000)
START_AT = datetime.fromisoformat("2026-01-08T00:00:00+00:00")

_RESUME = """
import json, sys
from datetime import timedelta
from hashlib import sha256
from evcharge.simulated.offline_run import Scenario
from simulation.profile import shipped
payload = json.load(sys.stdin)
profile = payload["profile"] and shipped(payload["profile"])
start_at = __import__("datetime").datetime.fromisoformat(payload["start_at"])
scenario = Scenario(2, stations=30, vehicles=payload["vehicles"], profile=profile, start_at=start_at)
simulation = scenario.resume(payload["state"])
digests = []
for cut in payload["cuts"]:
    rows = list(simulation.advance(scenario.begins_at + timedelta(milliseconds=cut)).rows())
    digests.append([len(rows), sha256(repr(rows).encode()).hexdigest()])
    simulation = scenario.resume(json.loads(json.dumps(simulation.save())))
print(json.dumps([digests, simulation.totals.ledger_hash, simulation.save()]))
"""


def digest(batch: EventBatch) -> tuple[int, str]:
    rows = list(batch.rows())
    return len(rows), sha256(repr(rows).encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *SHIPPED])
def test_another_process_resumes_where_this_one_stopped(name: str | None) -> None:
    """At each cut the state is saved and loaded, from the second cut on in another interpreter."""
    profile = None if name is None else shipped(name)
    vehicles = 900 if name is None else None
    scenario = Scenario(2, stations=30, vehicles=vehicles, profile=profile, start_at=START_AT)
    begin = scenario.begins_at
    unbroken = scenario.begin()
    expected = [digest(unbroken.advance(begin + timedelta(milliseconds=cut))) for cut in CUTS_MS]
    first = scenario.begin()
    assert digest(first.advance(begin + timedelta(milliseconds=CUTS_MS[0]))) == expected[0]
    payload = {
        "profile": name,
        "vehicles": vehicles,
        "start_at": START_AT.isoformat(),
        "state": first.save(),
        "cuts": CUTS_MS[1:],
    }
    answer = subprocess.run(
        [sys.executable, "-c", _RESUME],
        input=json.dumps(payload),
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    digests, ledger_hash, state = json.loads(answer)
    assert digests == [list(one) for one in expected[1:]]
    assert ledger_hash == unbroken.totals.ledger_hash
    assert state == json.loads(json.dumps(unbroken.save()))
    assert sum(count for count, _ in expected) > 10


def test_states_are_saved_amid_shared_power_and_pauses() -> None:
    """The run above is cut amid what is hard to resume: limits below an EVSE's power, interrupted charging, waiting cars."""
    scenario = Scenario(2, stations=30, vehicles=900, start_at=START_AT)
    simulation = scenario.begin()
    limited = paused = waiting = 0
    for cut in CUTS_MS:
        simulation.advance(START_AT + timedelta(milliseconds=cut))
        for car in simulation._world.cars:
            if (session := car.session) is None:
                continue
            limited += session.charging and session.limit_kw < simulation._world.plugs.evses[session.evse].power_kw
            paused += car.step == "resume"
            waiting += car.step in ("give_up", "plug_in")
    assert min(limited, paused, waiting) > 0


@pytest.mark.slow
def test_a_resumed_scenario_is_the_unbroken_one() -> None:
    scenario = Scenario(2, stations=20, vehicles=200)
    whole = simulate(scenario, timedelta(hours=40))
    resumed = simulate(scenario, timedelta(hours=40), resume_at=timedelta(hours=17, milliseconds=1))
    assert resumed.totals == whole.totals
    assert resumed.totals.ledger_hash == whole.totals.ledger_hash
    assert resumed.sessions.equals(whole.sessions)
    assert resumed.state == whole.state


# --- the ledger ---


@pytest.fixture(scope="module")
def noted() -> tuple[Simulation, list[tuple[float, ...]], str]:
    """A day's notes without meter values, as the engine gave them to the recorder, and the hash of their ledger."""
    simulation = Scenario(2, stations=20, vehicles=200).begin()
    notes: list[tuple[float, ...]] = []
    simulation._world.recorder.note = notes.append
    simulation._world.recorder.meter = lambda run: None
    simulation.advance(MONDAY + timedelta(days=1))
    assert len(notes) > 200
    return simulation, notes, ledger(simulation, notes)


def ledger(simulation: Simulation, notes: list[tuple[float, ...]], chunks: int = 1) -> str:
    recorder: Recorder = simulation._world.recorder
    totals = Totals()
    for chunk in np.array_split(np.arange(len(notes)), chunks):
        recorder._notes.extend(notes[i] for i in chunk)
        recorder.batch(totals)
    return totals.ledger_hash


def test_the_ledger_is_the_same_in_any_chunks(noted: tuple[Simulation, list[tuple[float, ...]], str]) -> None:
    simulation, notes, whole = noted
    assert {ledger(simulation, notes, chunks) for chunks in (2, 7, 100)} == {whole}
    assert ledger(simulation, notes[::-1]) == whole


def test_the_ledger_shows_a_lost_a_doubled_and_any_changed_event(
    noted: tuple[Simulation, list[tuple[float, ...]], str],
) -> None:
    simulation, notes, whole = noted
    steps = (1, 1, 1, 1, 1, 1, 1, 1, 0.001, 0.001, 0.0001, 1, 1, 1, 0.0001)
    hashes = []
    for place in range(0, len(notes), 17):
        hashes.append(ledger(simulation, notes[:place] + notes[place + 1 :]))
        hashes.append(ledger(simulation, [*notes, notes[place]]))
        note = notes[place]
        for column, step in enumerate(steps):
            if note[column] != note[column] or (column in (1, 2, 3, 6, 7) and note[column] < 1):
                continue
            # One less, so that there is such a vehicle, station, EVSE, type and reason.
            value = note[column] - step if step == 1 else note[column] + step
            changed = (*note[:column], value, *note[column + 1 :])
            hashes.append(ledger(simulation, [*notes[:place], changed, *notes[place + 1 :]]))
    assert len(hashes) > 100
    assert len({whole, *hashes}) == len(hashes) + 1


# --- memory ---


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "dc_fast"])
def test_memory_does_not_grow_with_the_days(name: str | None) -> None:
    """After 30 days memory holds hardly more than after 3: what is over is forgotten."""
    profile = None if name is None else shipped(name)
    scenario = Scenario(5, stations=12, vehicles=150 if name is None else None, profile=profile)
    simulation = scenario.begin()
    begin = scenario.begins_at
    held, objects, saved = {}, {}, {}
    tracemalloc.start()
    try:
        for day in range(1, 31):
            simulation.advance(begin + timedelta(days=day))
            if day in (3, 30):
                # The cache of the zones' offsets is bounded and no part of the simulation.
                _slot_offset_ms.cache_clear()
                gc.collect()
                held[day], objects[day] = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
                saved[day] = len(json.dumps(simulation.save()))
    finally:
        tracemalloc.stop()
    assert simulation.totals.sessions > 100
    # Curves of new limits and lists of neighbours are kept; their number is bounded.
    curves = len(simulation._world.curves)
    assert held[30] - held[3] < 50_000 + 3_000 * curves
    assert objects[30] - objects[3] < 3_000 + 10 * curves
    assert saved[30] < 1.3 * saved[3] + 5_000
    recorder = simulation._world.recorder
    assert (recorder._notes, recorder._runs, simulation._world.spells) == ([], [], [])
    assert len(simulation._world.environment._queue) <= 5 * (len(simulation._world.cars) + len(simulation._world.sites))
