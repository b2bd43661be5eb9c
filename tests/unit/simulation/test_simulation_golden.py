"""The simulation gives exactly the events, states and telemetry that are written down here.

The values hold for one version of numpy. A change of the model on purpose needs new ones: a failing test prints them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from simulated_day import START
from small_sites import MONDAY

from simulation import AS_RECORDED, Behaviour, Demand, Fleet, Network, Simulation, Totals, build_fleet, build_network
from simulation.profile import SiteProfile, shipped
from simulation.site import STATION_ID, site_fleet, site_network

SPAN = timedelta(days=2)
#: Where the run is saved and loaded: an odd instant, amid queues, pauses and repairs.
HALFWAY = timedelta(hours=23, milliseconds=1)
#: How much of the telemetry is compared: the last hours before the end.
TELEMETRY = timedelta(hours=3)

#: Trouble for most visits, and trips to another station.
TROUBLE = Behaviour(
    failed_start_share=0.4,
    failed_retry_share=0.5,
    balk_share=0.2,
    reroute_share=0.9,
    reroute_km=40.0,
    fault_share=0.3,
    repair_median_s=3600.0,
    ac_meter_s=900.0,
    dc_meter_s=20.0,
)


@dataclass(frozen=True)
class Scenario:
    """The arguments of a simulation, as `Simulation` and `Simulation.load` take them."""

    network: Network
    fleet: Fleet
    keywords: dict[str, Any]

    def begin(self) -> Simulation:
        return Simulation(self.network, self.fleet, seed=3, start_at=self.start_at, **self.keywords)

    def load(self, state: dict[str, Any]) -> Simulation:
        return Simulation.load(self.network, self.fleet, state, **self.keywords)

    def telemetry(self, simulation: Simulation) -> str | None:
        if not self.keywords.get("connected", True):
            return None
        return digest(list(simulation.telemetry(since=self.start_at + SPAN - TELEMETRY).rows()))

    @property
    def start_at(self) -> datetime:
        return MONDAY if "sites" in self.keywords else START


@dataclass(frozen=True)
class Golden:
    """What a scenario comes to after `SPAN`. `half` and `state` are digests of the states saved halfway and at the end."""

    events: int
    ledger_hash: str
    half: str
    state: str
    telemetry: str | None = None


def built_in(**keywords: Any) -> Scenario:
    network = build_network(stations=24, seed=3)
    return Scenario(network, build_fleet(network, vehicles=500, seed=3), keywords)


def many_pauses() -> Scenario:
    kinds = {kind: replace(demand, pause_share=0.8) for kind, demand in Demand().kinds.items()}
    return built_in(demand=Demand(kinds), connected=False)


def fast_hub() -> Scenario:
    """Fast chargers alone, whose sites share their power, for several times as many cars as there are plugs."""
    network = build_network(stations=120, seed=3)
    hubs = Network(tuple(station for station in network.stations if station.site_kind.value == "dc_fast"))
    return Scenario(hubs, build_fleet(hubs, vehicles=500, seed=3), {"behaviour": replace(TROUBLE, dc_meter_s=60.0)})


def of_profile(profile: SiteProfile, vehicles: int, behaviour: Behaviour) -> Scenario:
    keywords = {"sites": {STATION_ID: profile}, "behaviour": behaviour, "connected": False}
    return Scenario(site_network(profile), site_fleet(profile, vehicles), keywords)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "built in": built_in,
    "trouble": lambda: built_in(behaviour=TROUBLE),
    "pauses, not connected": many_pauses,
    "fast hub": fast_hub,
    "fast site that shares power": lambda: of_profile(
        replace(shipped("dc_fast"), evses=4, site_power_kw=60.0, visits=(120.0,) * 7), 400, TROUBLE
    ),
    "campus with few guests": lambda: of_profile(replace(shipped("campus"), evses=8), 5, AS_RECORDED),
}

GOLDEN: dict[str, Golden] = {
    "built in": Golden(
        events=7438,
        ledger_hash="2c57eba223360df449c80fef028c5b9a",
        half="4eed89c16b27d3e8bf26aaf91dc315c54bee5dab109415b08ac77ff9c59ee927",
        state="f19b2ec6f8d902c99d1c862aedf692697b8dde06c37985f92b8371f80a9d7448",
        telemetry="fca561f0a292ce905dac617fcfbec83e6ebd0855a1422a23637158f9043e0ba0",
    ),
    "trouble": Golden(
        events=8183,
        ledger_hash="1bd76a12464407d784696317a5680c70",
        half="eb4b7f38aeaa672440853c6767ad0dac414fa636fc60f7ad92e63635809bb904",
        state="e0eecdfe3458a8e361aeac32a77cb22454662d324253748091ff486bd746f0c5",
        telemetry="be04b3b20c154ab5b465a7fe98f802f59393d9cd2a35504a7e591d4231d2f6f2",
    ),
    "pauses, not connected": Golden(
        events=7429,
        ledger_hash="3e5e6facea588b44f39a0245f10b6cb4",
        half="d1ac82a666bb92101860bbe50e9d993c76487f73afe4d0fe2f807b6543a7486a",
        state="0ee19cd9043a2f837b4cd3e9654b6b4ce7d9c111c8e5e6d3f91477947bb0126c",
    ),
    "fast hub": Golden(
        events=24875,
        ledger_hash="97072f0cce77bc45cef7bb03a135b2f8",
        half="8b96237929a60194d963c24311932846b6b468ebae33647f660e0e1afcb17ba1",
        state="27982b36ea585d4b7bf59eb1d326490df14063a36367b86d1da17b70f6947234",
        telemetry="2a1123f810f48623d77f712f402b72dbbb73d8e0cbf1604def6f894a3d4ccf7c",
    ),
    "fast site that shares power": Golden(
        events=9800,
        ledger_hash="44e0874f7bd1a81f6b2be310810bd6e3",
        half="767ea12447f07ae682b7b0aab719ddb42ff728c6d7352862d32d51d0abffe7fa",
        state="c8f34ee090bcbf38f0c0c3c683bb56d8c9d1ca08e78e08edd8273453d29f8f19",
    ),
    "campus with few guests": Golden(
        events=402,
        ledger_hash="d71f8c0573be4714c56607665ec49714",
        half="3364c0831f796a193c5d62370c1c725ed4dec8dcfcd032a92406534e35b8c7af",
        state="9ac5bc39f7e81ada66c7ea01dabf22cedd9d47842932a403ade95d5b0d0da113",
    ),
}


def digest(value: Any) -> str:
    return sha256(json.dumps(value, default=str).encode()).hexdigest()


@cache
def result(name: str) -> tuple[Golden, Totals]:
    """What one unbroken run of a scenario comes to."""
    scenario = SCENARIOS[name]()
    simulation = scenario.begin()
    simulation.advance(scenario.start_at + HALFWAY)
    half = digest(simulation.save())
    simulation.advance(scenario.start_at + SPAN)
    totals = simulation.totals
    telemetry = scenario.telemetry(simulation)
    return Golden(totals.events, totals.ledger_hash, half, digest(simulation.save()), telemetry), totals


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_is_the_one_that_was_written_down(name: str) -> None:
    assert result(name)[0] == GOLDEN[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_that_is_saved_and_loaded_halfway_is_the_same(name: str) -> None:
    scenario = SCENARIOS[name]()
    simulation = scenario.begin()
    simulation.advance(scenario.start_at + HALFWAY)
    state = json.dumps(simulation.save())
    assert sha256(state.encode()).hexdigest() == GOLDEN[name].half
    loaded = scenario.load(json.loads(state))
    loaded.advance(scenario.start_at + SPAN)
    assert loaded.totals.ledger_hash == GOLDEN[name].ledger_hash
    assert digest(loaded.save()) == GOLDEN[name].state
    assert scenario.telemetry(loaded) == GOLDEN[name].telemetry


@pytest.mark.slow
def test_the_scenarios_meet_all_that_can_happen() -> None:
    totals = [result(name)[1] for name in SCENARIOS]
    for event_type in ("queued", "abandoned", "started", "meter", "suspended", "resumed", "stopped", "faulted"):
        assert sum(each.events_by_type[event_type] for each in totals) > 20, event_type
    assert sum(each.rerouted for each in totals) > 10
    assert sum(each.failed_starts for each in totals) > 20
    assert sum(each.balked.total() for each in totals) > 20
    assert sum(each.without_car for each in totals) > 20
