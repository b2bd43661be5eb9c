"""Vehicles: a small table of real models, and the built-in fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from simulation.charging import EvModel
from simulation.draws import Draws, Purpose, normal
from simulation.network import CHADEMO, COMBO, J1772, TESLA, Network, SiteKind
from simulation.roads import Surroundings

_CCS = (J1772, COMBO)
_CHADEMO = (J1772, CHADEMO)
# A Tesla comes with an adapter, so it takes J1772 as well.
_TESLA = (J1772, TESLA)


def _curve(*points: tuple[int, float]) -> tuple[tuple[float, float], ...]:
    return tuple((percent / 100, power_kw) for percent, power_kw in points)


# Usable battery, onboard charger, DC peak, consumption and charging curve: Open EV Data (chargeprice/open-ev-data,
# release of 2021-09-09, MIT), of models with a measured curve. Connectors are those of the US versions; the share of each
# model in the fleet is an assumption after US sales.
MODELS: tuple[tuple[EvModel, float], ...] = (
    (
        EvModel(
            "tesla-model-3-lr", "Tesla", "Model 3 Long Range", 74.0, 11.0, 195.0, 16.1, _TESLA,
            _curve((0, 180.0), (40, 195.0), (60, 110.0), (100, 12.0)),
        ),
        0.13,
    ),
    (
        EvModel(
            "tesla-model-3-sr", "Tesla", "Model 3 Standard Range Plus", 50.0, 11.0, 149.0, 15.3, _TESLA,
            _curve((0, 130.0), (52, 149.0), (60, 110.0), (100, 12.0)),
        ),
        0.10,
    ),
    (
        EvModel(
            "tesla-model-y-lr", "Tesla", "Model Y Long Range", 72.5, 11.0, 246.0, 14.4, _TESLA,
            _curve((0, 246.0), (35, 238.0), (75, 99.0), (100, 18.0)),
        ),
        0.21,
    ),
    (
        EvModel(
            "chevrolet-bolt", "Chevrolet", "Bolt", 58.0, 7.2, 55.0, 12.9, _CCS,
            _curve((0, 55.0), (56, 38.0), (68, 24.0), (85, 16.0), (100, 0.0)),
        ),
        0.11,
    ),
    (
        EvModel(
            "nissan-leaf-40", "Nissan", "Leaf 40 kWh", 38.0, 6.6, 45.0, 16.4, _CHADEMO,
            _curve((0, 41.0), (62, 45.0), (65, 36.0), (100, 15.0)),
        ),
        0.07,
    ),
    (
        EvModel(
            "ford-mustang-mach-e", "Ford", "Mustang Mach-E AWD Extended Range", 88.0, 11.0, 148.0, 18.1, _CCS,
            _curve((0, 148.0), (35, 147.0), (60, 118.0), (80, 73.0), (100, 27.0)),
        ),
        0.08,
    ),
    (
        EvModel(
            "volkswagen-id4-77", "Volkswagen", "ID.4 77 kWh", 77.0, 11.0, 125.0, 19.3, _CCS,
            _curve((0, 125.0), (30, 125.0), (70, 65.0), (80, 65.0), (100, 22.0)),
        ),
        0.08,
    ),
    (
        EvModel(
            "hyundai-ioniq-5", "Hyundai", "Ioniq 5 Long Range", 72.6, 11.0, 232.0, 19.4, _CCS,
            _curve(
                (0, 200.0), (10, 210.0), (22, 232.0), (23, 185.0), (37, 185.0), (38, 175.0), (47, 175.0), (48, 155.0),
                (55, 155.0), (56, 130.0), (70, 130.0), (80, 100.0), (100, 11.0),
            ),
        ),
        0.08,
    ),
    (
        EvModel(
            "hyundai-kona-64", "Hyundai", "Kona Electric 64 kWh", 64.0, 7.2, 77.0, 15.8, _CCS,
            _curve(
                (0, 70.0), (40, 77.0), (42, 70.0), (53, 71.0), (55, 57.0), (71, 58.0), (72, 38.0), (76, 38.0),
                (78, 25.0), (88, 25.0), (100, 8.0),
            ),
        ),
        0.05,
    ),
    (
        EvModel(
            "kia-niro-64", "Kia", "Niro EV 64 kWh", 64.0, 7.2, 77.0, 17.3, _CCS,
            _curve(
                (0, 70.0), (40, 77.0), (42, 70.0), (53, 71.0), (55, 57.0), (71, 58.0), (72, 38.0), (76, 38.0),
                (78, 25.0), (88, 25.0), (100, 8.0),
            ),
        ),
        0.04,
    ),
    (
        EvModel(
            "polestar-2", "Polestar", "2 Long Range", 72.5, 11.0, 150.0, 17.1, _CCS,
            _curve(
                (0, 150.0), (18, 150.0), (20, 130.0), (40, 130.0), (42, 100.0), (55, 90.0), (57, 70.0), (79, 70.0),
                (80, 25.0), (100, 11.0),
            ),
        ),
        0.03,
    ),
    (
        EvModel(
            "jaguar-i-pace", "Jaguar", "I-Pace EV400", 84.0, 11.0, 105.0, 23.2, _CCS,
            _curve((0, 100.0), (30, 105.0), (80, 55.0), (90, 37.0), (100, 12.0)),
        ),
        0.02,
    ),
)  # fmt: skip

# Model assumptions: the shares of drivers who can charge at work, at a shared residence or at home, the state of charge at
# which AC charging ends, and the daily distance.
_WORKPLACE_SHARE = 0.26
_RESIDENCE_SHARE = 0.11
_PRIVATE_SHARE = 0.65
_TARGETS = ((0.35, 0.8), (0.6, 0.9), (1.0, 1.0))
_DAILY_KM_MEDIAN = 40.0
_DAILY_KM_SIGMA = 0.45


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One car and its habits.

    `home`, `workplace` and `residence` are positions in the network's stations. The car is based near its `home`;
    `workplace` and `residence` are the sites where it has a place to charge, if any. `charges_at_home` means a private socket
    outside the network. AC charging ends at `target_soc`; the simulation starts with `first_soc` (both 0 to 1).
    """

    ev_id: str
    ev_model_id: str
    home: int
    workplace: int | None
    residence: int | None
    charges_at_home: bool
    target_soc: float
    daily_km: float
    first_soc: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """The vehicles of a simulation and their models. The order is part of the simulation's identity."""

    models: tuple[EvModel, ...]
    vehicles: tuple[Vehicle, ...]


def build_fleet(
    network: Network,
    vehicles: int,
    seed: int,
    models: Sequence[tuple[EvModel, float]] = MODELS,
    id_prefix: str = "ev",
) -> Fleet:
    """A fleet of `vehicles` cars based near the stations of `network`, the same for the same `seed`.

    Their ids are `<id_prefix>-00001` and so on. `models` come with their shares of the fleet, which add up to 1. ValueError
    if `vehicles` is below 1 or the network has no station that a drawn model can use.
    """
    if vehicles < 1:
        raise ValueError(f"vehicles must be at least 1, not {vehicles}")
    draws = Draws(seed)
    surroundings = Surroundings(network)
    return Fleet(
        tuple(model for model, _ in models),
        tuple(_build_vehicle(number, draws, surroundings, models, id_prefix) for number in range(1, vehicles + 1)),
    )


def _build_vehicle(
    number: int, draws: Draws, surroundings: Surroundings, models: Sequence[tuple[EvModel, float]], id_prefix: str
) -> Vehicle:
    u = draws.block(Purpose.VEHICLE, number)
    habits = draws.block(Purpose.HABIT, number)
    model = _model(models, u[0])
    home = surroundings.base(model.connector_types, u[1])

    def place(kind: SiteKind, share: float, has: float, which: float) -> int | None:
        if has >= share:
            return None
        return surroundings.near(home, kind, model.connector_types).pick(which)

    target_soc = next(target for share, target in _TARGETS if u[6] < share)
    residence = place(SiteKind.RESIDENTIAL, _RESIDENCE_SHARE, u[4], u[5])
    charges_at_home = residence is None and habits[1] < _PRIVATE_SHARE
    return Vehicle(
        ev_id=f"{id_prefix}-{number:05d}",
        ev_model_id=model.ev_model_id,
        home=home,
        workplace=place(SiteKind.WORKPLACE, _WORKPLACE_SHARE, u[2], u[3]),
        residence=residence,
        charges_at_home=charges_at_home,
        target_soc=target_soc,
        daily_km=round(_DAILY_KM_MEDIAN * exp(_DAILY_KM_SIGMA * normal(u[7])), 1),
        first_soc=round(target_soc - 0.25 * habits[0] if charges_at_home else 0.3 + 0.6 * habits[0], 4),
    )


def _model(models: Sequence[tuple[EvModel, float]], u: float) -> EvModel:
    for model, share in models:
        if u < share:
            return model
        u -= share
    return models[-1][0]
