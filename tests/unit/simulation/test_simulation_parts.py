"""The parts of the simulation: charge curves, clocks, calendars, the network and what the package may import."""

import ast
import math
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_day import Day

import simulation
from evcharge.contracts.model import FieldType
from evcharge.contracts.station_registry import STATION_REGISTRY
from simulation.charging import ChargeCurve, charge_curve
from simulation.clock import HOUR_MS, to_datetime, to_local_ms, to_ms, to_utc_ms
from simulation.demand import Demand
from simulation.draws import Draws, Purpose
from simulation.fleet import MODELS
from simulation.network import SiteKind
from simulation.places import PLACES

ALL_MODELS = [model for model, _ in MODELS]
PACKAGE = Path(simulation.__path__[0])

curves = st.builds(
    charge_curve, st.sampled_from(ALL_MODELS), st.sampled_from([6.6, 11.5, 50.0, 150.0, 350.0]), st.booleans()
)


@given(curve=curves, soc=st.floats(0, 1))
def test_time_and_state_of_charge_are_inverse(curve: ChargeCurve, soc: float) -> None:
    assert curve.soc_at(curve.seconds_at(soc)) == pytest.approx(soc, abs=1e-9)


@pytest.mark.slow
@given(curve=curves, start=st.floats(0, 0.95), share=st.floats(0.001, 1))
def test_energy_is_the_integral_of_power(curve: ChargeCurve, start: float, share: float) -> None:
    """Compares the closed form with the midpoint rule over time."""
    whole_s = curve.seconds_at(1.0) - curve.seconds_at(start)
    from_s, length_s, steps = curve.seconds_at(start), whole_s * share, 4000
    middles = (from_s + (step + 0.5) * length_s / steps for step in range(steps))
    integral_kwh = sum(curve.power_kw(curve.soc_at(at)) for at in middles) * length_s / steps / 3600
    closed_kwh = (curve.soc_at(from_s + length_s) - start) * curve.kwh_per_soc
    # Curves may jump within one percent of charge; the midpoint rule blurs that.
    assert closed_kwh == pytest.approx(integral_kwh, rel=2e-4, abs=1e-6)


@given(curve=curves, seconds=st.lists(st.floats(0, 200_000), min_size=2))
def test_charge_never_falls(curve: ChargeCurve, seconds: list[float]) -> None:
    levels = [curve.soc_at(at) for at in sorted(seconds)]
    assert levels == sorted(levels)
    assert levels[0] >= 0
    assert levels[-1] <= 1


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.ev_model_id)
def test_power_keeps_every_limit(model: simulation.EvModel) -> None:
    for power_kw, is_dc in ((7.2, False), (11.5, False), (50.0, True), (350.0, True)):
        curve = charge_curve(model, power_kw, is_dc)
        limit = min(power_kw, model.dc_kw if is_dc else model.ac_kw)
        assert all(curve.power_kw(step / 1000) <= limit + 1e-9 for step in range(1001))


def test_a_curve_must_cover_the_battery() -> None:
    with pytest.raises(ValueError, match=re.escape("from 0.0 to 1.0")):
        ChargeCurve(((0.1, 50.0), (1.0, 10.0)), 60.0, 0.95)


@given(
    instant=st.datetimes(datetime(2018, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001
    zone=st.sampled_from(sorted({place.time_zone for place in PLACES})),
)
def test_local_time_is_the_zones(instant: datetime, zone: str) -> None:
    utc = instant.replace(tzinfo=UTC, microsecond=instant.microsecond // 1000 * 1000)
    local_ms = to_local_ms(zone, to_ms(utc))
    assert to_datetime(local_ms).replace(tzinfo=None) == utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    # A repeated hour in autumn has two instants.
    assert to_utc_ms(zone, local_ms) - to_ms(utc) in (0, -HOUR_MS, HOUR_MS)
    assert to_datetime(to_ms(utc)) == utc


@given(
    local_ms=st.integers(0, 3 * 10**12),
    when=st.floats(1e-12, 1, exclude_max=True),
    which=st.floats(0, 1, exclude_max=True),
)
def test_visits_come_later_and_of_the_given_kinds(local_ms: int, when: float, which: float) -> None:
    kinds = (SiteKind.PUBLIC, SiteKind.DC_FAST)
    visit_ms, kind = Demand().calendar(kinds).next_visit(local_ms, when, which)
    assert visit_ms >= local_ms - 1
    assert kind in kinds


def test_hourly_rates_add_up_to_the_visits_per_day() -> None:
    for demand in Demand().kinds.values():
        assert sum(demand.hourly_rates()) == pytest.approx(7 * demand.visits_per_day)


def test_draws_are_uniform_and_keyed() -> None:
    draws = Draws(1)
    values = [u for entity in range(2000) for u in draws.block(Purpose.PLAN, entity)]
    assert all(0 < u < 1 for u in values)
    # Five standard errors of the mean of n uniforms.
    assert abs(sum(values) / len(values) - 0.5) < 5 / math.sqrt(12 * len(values))
    assert len(set(values)) == len(values)
    assert draws.block(Purpose.PLAN, 1, 2) != draws.block(Purpose.STAY, 1, 2) != Draws(2).block(Purpose.STAY, 1, 2)


def test_registry_records_satisfy_the_contract(day: Day) -> None:
    records = list(day.network.registry_records())
    assert len({record["station_id"] for record in records}) == 500
    expected = {field.name for field in STATION_REGISTRY.fields} - {"schema_version", "observed_at", "removed_at"}
    for record in records:
        assert set(record) == expected
        for field in STATION_REGISTRY.fields:
            if field.name not in expected:
                continue
            value = record[field.name]
            assert value is not None
            assert not field.values or value in field.values
            assert field.minimum is None or value >= field.minimum
            assert field.maximum is None or value <= field.maximum
            assert field.type is not FieldType.DOUBLE or type(value) is float
        assert record["total_outlets"] == len(record["evses"]) == sum(c["ports"] for c in record["connectors"])
        assert set(record["connector_types"]) == {evse["connector_type"] for evse in record["evses"]}
        assert re.fullmatch(r"[A-Z][A-Za-z_]+(/[A-Za-z_+-]+)+", record["time_zone"])
        assert re.fullmatch(r"\d{5}", record["zip"])


def test_stations_lie_at_their_zip_code(day: Day) -> None:
    places = {place.zip: place for place in PLACES}
    assert len(places) == len(PLACES) >= 60
    for station in day.network.stations:
        place = places[station.zip]
        assert (station.city, station.state, station.time_zone) == (place.city, place.state, place.time_zone)
        assert abs(station.latitude - place.latitude) <= 0.011
        assert abs(station.longitude - place.longitude) <= 0.011
        assert max(evse.power_kw for evse in station.evses) <= station.site_power_kw
    assert {station.site_kind for station in day.network.stations} == set(SiteKind)


def test_the_package_imports_nothing_of_ours_and_reads_no_clock() -> None:
    allowed = (sys.stdlib_module_names | {"numpy", "simpy", "simulation"}) - {
        "time",
        "random",
        "secrets",
        "os",
        "socket",
    }
    for path in PACKAGE.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("utcnow", "today"), path
                is_clock = node.attr == "now" and isinstance(node.value, ast.Name) and node.value.id == "datetime"
                assert not is_clock, path
