"""One site as its profile describes it: the station, and the guests who come to it."""

from __future__ import annotations

from math import ceil, sqrt

from simulation.charging import EvModel
from simulation.fleet import MODELS, Fleet, Vehicle
from simulation.network import Evse, Network, SiteKind, Station
from simulation.profile import ProfileError, SiteProfile

STATION_ID = "site-1"

# Guests per visit of the busiest weekday: enough that every guest has had a night since the last visit, on busy days too.
_GUESTS_PER_VISIT = 6
_FEWEST_GUESTS = 40


def site_network(profile: SiteProfile) -> Network:
    """The network of the profile's one station. A profile has no place, so the station is at 0 degrees north and east."""
    station_id = STATION_ID
    evses = tuple(
        Evse(f"{station_id}-{number}", "1", profile.connector_type, profile.power_kw)
        for number in range(1, profile.evses + 1)
    )
    kind = SiteKind.DC_FAST if evses[0].is_dc else SiteKind.PUBLIC
    together_kw = profile.evses * profile.power_kw
    station = Station(
        station_id=station_id,
        station_name=profile.source,
        city="",
        state="",
        zip="",
        country="",
        time_zone=profile.time_zone,
        longitude=0.0,
        latitude=0.0,
        site_kind=kind,
        evses=evses,
        site_power_kw=min(profile.site_power_kw or together_kw, together_kw),
        network="",
    )
    return Network((station,))


def site_fleet(profile: SiteProfile, vehicles: int | None = None) -> Fleet:
    """The site's guests: cars of the models that have its connector, by their shares of the built-in fleet.

    Without `vehicles` there are enough guests for the profile's visits. ProfileError if no model has the connector.
    """
    fitting = [(model, share) for model, share in MODELS if profile.connector_type in model.connector_types]
    if not fitting:
        raise ProfileError(f"connector_type: no vehicle model has {profile.connector_type!r}")
    if vehicles is None:
        busiest = max(profile.visits) * (1 + 3 * sqrt(max(profile.day_variance, 0.0)))
        vehicles = max(ceil(_GUESTS_PER_VISIT * busiest), _FEWEST_GUESTS)
    total, taken = sum(share for _, share in fitting), 0.0
    chosen: list[tuple[float, EvModel]] = []
    for model, share in fitting:
        # Cars are whole and must add up, so each model fills up to its cumulated share.
        count = round((taken + share) / total * vehicles) - len(chosen)
        chosen += [((number + 0.5) / count, model) for number in range(count)]
        taken += share
    # A visit asks cars next to each other, so neighbours must be of different models: each model is spread over all guests.
    chosen.sort(key=lambda placed: placed[0])
    guests = tuple(
        Vehicle(f"ev-{number:05d}", model.ev_model_id, 0, None, None, False, 1.0, 0.0, 0.5)
        for number, (_, model) in enumerate(chosen, start=1)
    )
    return Fleet(tuple(model for model, _ in MODELS), guests)
