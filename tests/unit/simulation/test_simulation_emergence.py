"""Results that are no parameters: use, waiting and concentration of the built-in network are near published figures."""

from datetime import timedelta

import pytest

from evcharge.simulated.offline_run import Result, Scenario, simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fortnight() -> Result:
    """500 stations, 5,000 cars."""
    return simulate(Scenario(3), timedelta(days=14))


def test_plugs_are_used_as_much_as_published(fortnight: Result) -> None:
    used = fortnight.utilisation()
    assert 0.11 <= used["dc_fast"] <= 0.19
    assert 0.11 <= used["level_2"] <= 0.17


def test_some_wait_and_most_do_not(fortnight: Result) -> None:
    totals = fortnight.totals
    assert 0.03 <= totals.events_by_type["queued"] / totals.visits <= 0.15
    waited = sum(wait > 0 for wait in fortnight.sessions["queue_wait_s"].to_pylist()) / len(fortnight.sessions)
    assert 0.01 <= waited <= 0.15


def test_few_plugs_give_half_of_the_energy(fortnight: Result) -> None:
    shares = fortnight.half_of_energy()
    assert set(shares) == {"level_2", "dc_fast"}
    assert all(0.12 <= share <= 0.30 for share in shares.values()), shares


def test_figures_are_those_of_the_sessions_and_the_ledger(fortnight: Result) -> None:
    figures, totals = fortnight.to_json(), fortnight.totals
    assert figures["sessions"] == len(fortnight.sessions) == totals.sessions - totals.failed_starts
    assert figures["energy_kwh"] == pytest.approx(sum(fortnight.sessions["energy_kwh"].to_pylist()), abs=0.001)
    assert totals.energy_wh == round(sum(fortnight.sessions["energy_kwh"].to_pylist()) * 1000)
    assert figures["utilisation"] == fortnight.utilisation()
