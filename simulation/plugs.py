"""The EVSEs of all stations: which cars they fit, which cars are at them, and which cars wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simulation.cars import FREE
from simulation.network import Station

#: Stands for a car at an EVSE that waits for its repair.
OUT_OF_ORDER = -2


class Plugs:
    """EVSEs by number: those of the first station come first, each station's in their order."""

    def __init__(self, stations: Sequence[Station]) -> None:
        self.evses = [evse for station in stations for evse in station.evses]
        self.is_dc = [evse.is_dc for evse in self.evses]
        #: The EVSEs of each station.
        self.at_station: list[range] = []
        #: The station of each EVSE.
        self.station: list[int] = []
        for index, station in enumerate(stations):
            first = len(self.station)
            self.at_station.append(range(first, first + len(station.evses)))
            self.station.extend([index] * len(station.evses))
        #: The car at each EVSE, or FREE, or OUT_OF_ORDER.
        self.occupant = [FREE] * len(self.evses)
        #: The cars that wait at a station, the first one in front.
        self.queues: dict[int, deque[int]] = {}
        #: When an EVSE is repaired (ms), and the order of that step.
        self.repairs: dict[int, tuple[int, int]] = {}
        self._fitting: dict[tuple[int, tuple[str, ...]], tuple[int, ...]] = {}

    def fits(self, station: int, connector_types: tuple[str, ...]) -> tuple[int, ...]:
        """The EVSEs of a station that have one of these connectors, out of order or not."""
        fitting = self._fitting.get((station, connector_types))
        if fitting is None:
            fitting = self._fitting[station, connector_types] = tuple(
                evse for evse in self.at_station[station] if self.evses[evse].connector_type in connector_types
            )
        return fitting

    def free(self, station: int, connector_types: tuple[str, ...]) -> list[int]:
        """Those of `fits` that a car can take now."""
        occupant = self.occupant
        return [evse for evse in self.fits(station, connector_types) if occupant[evse] == FREE]
