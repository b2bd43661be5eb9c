"""What follows from a simulation's arguments alone. It never changes while the simulation runs, so it is never saved."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from simulation.behaviour import Behaviour
from simulation.clock import to_datetime
from simulation.demand import Calendar, Demand
from simulation.draws import Draws
from simulation.fleet import Fleet
from simulation.guests import SiteDemand, guests_by_site
from simulation.network import Network, SiteKind
from simulation.roads import Surroundings


class Setting:
    """The network, the fleet and how drivers behave. Stations and vehicles are known by their positions in their lists."""

    def __init__(
        self,
        network: Network,
        fleet: Fleet,
        *,
        seed: int,
        start_ms: int,
        demand: Demand | None,
        behaviour: Behaviour | None,
        sites: Mapping[str, SiteDemand] | None,
        connected: bool,
    ) -> None:
        """The arguments are those of `Simulation`. `start_ms` is in ms since 1970-01-01 UTC.

        ValueError if a vehicle's model is not in the fleet's table, a site is not in the network or a vehicle's home is none
        of the sites.
        """
        demand, sites = demand or Demand(), sites or {}
        self.seed = seed
        self.start_ms = start_ms
        self.behaviour = behaviour or Behaviour()
        #: The intervals of meter values (ms): AC, then DC.
        self.meter_ms = (round(self.behaviour.ac_meter_s * 1000), round(self.behaviour.dc_meter_s * 1000))
        self.stations = network.stations
        self.vehicles = fleet.vehicles
        self.draws = Draws(seed)
        self.surroundings = Surroundings(network)
        models = {model.ev_model_id: model for model in fleet.models}
        unknown = sorted({vehicle.ev_model_id for vehicle in fleet.vehicles} - models.keys())
        if unknown:
            raise ValueError(f"the fleet has no model {', '.join(unknown)}")
        #: The model of each vehicle.
        self.models = [models[vehicle.ev_model_id] for vehicle in fleet.vehicles]
        #: The state of charge (0 to 1) that each vehicle uses for a km.
        self.soc_per_km = [model.consumption_kwh_per_100km / 100 / model.usable_kwh for model in self.models]
        #: The demand at each station, by its kind.
        self.demand = [demand.kinds[station.site_kind] for station in network.stations]
        #: The demand and the guests of each station that has a demand of its own.
        self.guests = guests_by_site(network.stations, fleet.vehicles, sites)
        self.sends_telemetry = connected and not sites
        #: The calendar of each vehicle; none where visits come to sites.
        self.calendars: list[Calendar] = []
        if not sites:
            self.calendars = [self._calendar(index, demand) for index in range(len(fleet.vehicles))]
        arguments: tuple[object, ...] = (network, fleet, demand.kinds, self.behaviour, sorted(sites.items()), start_ms)
        # Parameters that came later are not in these texts. They count where they are set: older states keep their fingerprint.
        later = (self.behaviour.makes_room, *(getattr(site, "closed_share", 0.0) for _, site in sorted(sites.items())))
        if any(later):
            arguments += later
        self.fingerprint = sha256(repr(arguments).encode()).hexdigest()
        # Two runs can share seed and start but not the network, fleet or demand. The fingerprint keeps their ids apart.
        self.session_prefix = f"{seed}-{to_datetime(start_ms):%y%m%dT%H%M%S}-{self.fingerprint[:6]}"

    def _calendar(self, index: int, demand: Demand) -> Calendar:
        vehicle = self.vehicles[index]
        connector_types = self.models[index].connector_types
        kinds = [
            kind
            for kind in (SiteKind.PUBLIC, SiteKind.DC_FAST)
            if self.surroundings.near(vehicle.home, kind, connector_types)
        ]
        if vehicle.workplace is not None:
            kinds.append(SiteKind.WORKPLACE)
        if vehicle.residence is not None:
            kinds.append(SiteKind.RESIDENTIAL)
        # A driver who has nothing else uses the site where the car is based, of whatever kind.
        return demand.calendar(tuple(kinds) or (self.stations[vehicle.home].site_kind,))
