"""The reference data that comes with EVCharge: the simulation's EV models and the stations of the synthetic registry."""

from __future__ import annotations

import csv
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation import EvModel

#: How the synthetic registry was made from the simulation's built-in network: the seed, and the text added to each name.
_SEED, _NAME_SUFFIX = 7, " (synthetic)"


def bundled_models() -> list[dict[str, Any]]:
    """The simulation's own table of real models."""
    # imported here: a warehouse load reads models and needs no simulation
    from simulation.fleet import MODELS

    return [model_row(model, share, "open-ev-data") for model, share in MODELS]


def model_row(model: EvModel, fleet_share: float, source: str) -> dict[str, Any]:
    """A model of the simulation as a row of reference data, without `loaded_at`."""
    return {
        **asdict(model),
        "connector_types": list(model.connector_types),
        "dc_curve": [list(point) for point in model.dc_curve],
        "fleet_share": fleet_share,
        "source": source,
    }


def bundled_stations() -> list[dict[str, Any]]:
    """The package's synthetic registry: rows of the station-registry contract with facility type and access code.

    It was made from the simulation's built-in network, which has the EVSEs: AFDC's format has no field for them. Raises
    UserError.
    """
    from evcharge.registry.feed import EXAMPLE
    from evcharge.registry.files import read_file
    from evcharge.registry.snapshot import Scope
    from simulation import build_network

    snapshot = read_file(EXAMPLE, Scope("source"))
    with EXAMPLE.open(encoding="utf-8-sig", newline="") as file:
        records = {f"syn-{record['ID']}": record for record in csv.DictReader(file)}
    built_in = {station.station_name: station for station in build_network(len(records), _SEED).stations}
    rows = []
    for station_id, content in snapshot.stations.items():
        station = built_in[content["station_name"].removesuffix(_NAME_SUFFIX)]
        evses = [
            {**asdict(evse), "evse_id": f"{station_id}{evse.evse_id.removeprefix(station.station_id)}"}
            for evse in station.evses
        ]
        rows.append(
            {
                **content,
                "observed_at": snapshot.as_of or datetime.now(UTC),
                "snapshot_scope": snapshot.scope.name,
                "evses": evses,
                "facility_type": records[station_id]["Facility Type"],
                "access_code": records[station_id]["Access Code"],
            }
        )
    return rows
