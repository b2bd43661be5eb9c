"""What happens at a station: a car arrives, plugs in, charges, pauses and leaves, and EVSEs fail and are repaired.

A function here that takes a car (`index`) and a time (`now`, ms) takes that step of the car.
"""

from __future__ import annotations

from functools import partial

from simpy.events import Event

from simulation.cars import FREE, Session
from simulation.charging_stretches import begin_charging, end_charging
from simulation.clock import DAY_MS, HOUR_MS, to_local_ms, weekday
from simulation.demand import log_normal, stay_ms
from simulation.draws import Purpose, Uniforms, normal
from simulation.event_log import FAULTED, RESUMED, STARTED, STOPPED, SUSPENDED
from simulation.plugs import OUT_OF_ORDER
from simulation.profile import SiteProfile
from simulation.queueing import free_evse, release, wait
from simulation.reporting import report
from simulation.trips import SMALLEST_GAIN, depart, go_elsewhere
from simulation.world import World

# How long drivers stay beside a full car: the spread of the logarithm (assumption).
_LINGER_SIGMA = 0.9
# Who makes room leaves at most this share of the stay early (measured here). With less, starts at a site that fills up every
# morning stay early; with more, stays at a site with two plugs get 1.5 times as far from unseen days as other days are.
_MADE_ROOM_SHARE = 0.5
# Where a charge ends at a fast charger: median and spread of the EPFL fast chargers, median 83 %.
_FAST_TARGET = (0.85, 0.11)


def arrive(world: World, index: int, now: int, wanted_ms: int = -1, wanted_kwh: float = -1.0) -> None:
    """`wanted_ms` and `wanted_kwh` are what a site's visit asks for; -1: the driver decides."""
    car = world.cars[index]
    world.totals.visits += not car.reroutes
    session = Session(car.station, wanted_ms=wanted_ms, wanted_kwh=wanted_kwh)
    evse = free_evse(world, index, session)
    if evse == FREE:
        if world.setting.behaviour.makes_room:
            _make_room(world, index, now)
        wait(world, index, now, session)
        return
    car.session, session.evse = session, evse
    world.plugs.occupant[evse] = index
    plug_in(world, index, now)


def _make_room(world: World, index: int, now: int) -> None:
    """Let the driver who would leave next, of those at plugs that fit a car, leave at once if little of the stay is left."""
    leaving = []
    for evse in world.fits(index, world.cars[index].station):
        other = world.plugs.occupant[evse]
        # others have made room already, or have not plugged in yet
        if other >= 0 and world.session(other).leave_at > now:
            leaving.append((world.session(other).leave_at, other))
    if not leaving:
        return
    leave_at, other = min(leaving)
    if leave_at - now <= _MADE_ROOM_SHARE * (leave_at - world.session(other).started_at):
        world.session(other).leave_at = now
        world.schedule(other, now, "leave")


# --- the start ---


def plug_in(world: World, index: int, now: int) -> None:
    car, session = world.cars[index], world.session(index)
    session.started_at, session.soc_start = now, car.soc
    session.limit_kw = world.plugs.evses[session.evse].power_kw
    world.set_curve(index)
    if _start_fails(world, index, now):
        return
    length = _plan_stay(world, index, now)
    session.leave_at = now + length
    u = world.stay_draws(index, session)
    fault_share = world.setting.behaviour.fault_share
    if u[5] < fault_share:
        session.fault_at = now + int(length * u[5] / fault_share)
    session.next_meter_at = now + world.setting.meter_ms[world.plugs.is_dc[session.evse]]
    begin_charging(world, index, now)
    report(world, index, now, STARTED)


def _plan_stay(world: World, index: int, now: int) -> int:
    """How long (ms) a car stays. Decides also up to where it is charged and when it pauses."""
    setting = world.setting
    car, session = world.cars[index], world.session(index)
    if session.wanted_ms >= 0:
        session.target_soc = min(car.soc + session.wanted_kwh / session.known_curve.kwh_per_soc, 1.0)
        return session.wanted_ms
    demand, u = setting.demand[session.station], world.stay_draws(index, session)
    local_ms = to_local_ms(setting.stations[session.station].time_zone, now)
    if isinstance(demand.stay, SiteProfile):
        length, session.target_soc = _as_profiled(world, index, demand.stay, local_ms)
    else:
        length = stay_ms(demand.stay, local_ms, u)
        session.target_soc = _target_soc(world, index, u)
    if u[3] < demand.pause_share:
        # Inside the first half of the stay, for up to a third of it.
        session.pause_at = now + int(length * (0.1 + 0.4 * u[3] / demand.pause_share))
        session.resume_at = session.pause_at + int(length * (0.05 + 0.28 * u[4]))
    return length


def _as_profiled(world: World, index: int, profile: SiteProfile, local_ms: int) -> tuple[int, float]:
    """How long (ms) a driver of the profile's site stays, and up to where the car is charged."""
    car = world.cars[index]
    day, into_day_ms = divmod(local_ms, DAY_MS)
    u = world.setting.draws.block(Purpose.PROFILE, index, car.visit)
    stay_h, energy_kwh = profile.visit_at(weekday(day), into_day_ms / HOUR_MS, u)
    gain = energy_kwh / world.session(index).known_curve.kwh_per_soc
    return max(int(stay_h * HOUR_MS), 1), min(car.soc + gain, 1.0)


def _target_soc(world: World, index: int, u: Uniforms) -> float:
    if world.plugs.is_dc[world.session(index).evse]:
        target = min(max(_FAST_TARGET[0] + _FAST_TARGET[1] * normal(u[2]), 0.5), 1.0)
    else:
        target = world.setting.vehicles[index].target_soc
    return min(max(target, world.cars[index].soc + SMALLEST_GAIN), 1.0)


def _start_fails(world: World, index: int, now: int) -> bool:
    """Whether this try ends before any energy flows. If so, reports its start and plans when the driver notices."""
    session, behaviour = world.session(index), world.setting.behaviour
    share = behaviour.failed_retry_share if session.attempt else behaviour.failed_start_share
    if not share:
        return False
    u = world.setting.draws.block(Purpose.START, index, world.cars[index].visit)
    if u[session.attempt] >= share:
        return False
    report(world, index, now, STARTED)
    world.schedule(index, now + _notices_after_ms(world, u[-1 - session.attempt]), "try_again")
    return True


def try_again(world: World, index: int, now: int) -> None:
    """The driver notices that a start has failed, and tries another EVSE, the same one, or no more."""
    failed = world.session(index)
    world.totals.failed_starts += 1
    report(world, index, now, STOPPED, "Other")
    if failed.attempt + 1 == world.setting.behaviour.most_tries:
        release(world, failed.evse, now)
        go_elsewhere(world, index, now)
        return
    session = Session(failed.station, failed.attempt + 1, wanted_ms=failed.wanted_ms, wanted_kwh=failed.wanted_kwh)
    session.evse = free_evse(world, index, session)
    world.cars[index].session = session
    if session.evse == FREE:
        session.evse = failed.evse
    else:
        world.plugs.occupant[session.evse] = index
        release(world, failed.evse, now)
    u = world.setting.draws.block(Purpose.START, index, world.cars[index].visit)
    world.schedule(index, now + _notices_after_ms(world, u[4]), "plug_in")


def _notices_after_ms(world: World, uniform: float) -> int:
    least, most = world.setting.behaviour.failed_start_s
    return int((least + uniform * (most - least)) * 1000)


# --- while a car is plugged in ---


def pause(world: World, index: int, now: int) -> None:
    end_charging(world, index, now)
    session = world.session(index)
    session.pause_at = 0
    report(world, index, now, SUSPENDED)
    world.schedule(index, *min((session.resume_at, "resume"), (session.leave_at, "leave")))


def resume(world: World, index: int, now: int) -> None:
    begin_charging(world, index, now)
    report(world, index, now, RESUMED)


def full(world: World, index: int, now: int) -> None:
    end_charging(world, index, now)
    session = world.session(index)
    world.cars[index].soc = session.target_soc
    session.full_at = now
    report(world, index, now, SUSPENDED)
    linger_s = world.setting.demand[session.station].linger_s
    if linger_s is not None and session.wanted_ms < 0:
        u = world.stay_draws(index, session)
        session.leave_at = min(session.leave_at, now + int(log_normal(linger_s, _LINGER_SIGMA, u[6]) * 1000))
    world.schedule(index, session.leave_at, "leave")


def leave(world: World, index: int, now: int) -> None:
    session = world.session(index)
    u = world.stay_draws(index, session)
    if session.full_at:
        reason = "SOCLimitReached" if session.target_soc < 1.0 else "StoppedByEV"
    else:
        # Half of the drivers unplug at once, the others stop at the EVSE or in an app first (assumption).
        reason = "EVDisconnected" if u[6] < 0.5 else "Local" if u[6] < 0.8 else "Remote"
    if session.charging:
        end_charging(world, index, now)
    report(world, index, now, STOPPED, reason)
    release(world, session.evse, now)
    depart(world, index, now)


# --- faults and repairs ---


def fault(world: World, index: int, now: int) -> None:
    setting, evse = world.setting, world.session(index).evse
    end_charging(world, index, now)
    u = setting.draws.block(Purpose.FAULT, index, world.cars[index].visit)
    reason = "GroundFault" if u[0] < 0.5 else "PowerLoss"
    report(world, index, now, FAULTED, reason)
    report(world, index, now, STOPPED, reason)
    world.plugs.occupant[evse] = OUT_OF_ORDER
    behaviour = setting.behaviour
    repaired_at = now + int(log_normal(behaviour.repair_median_s, behaviour.repair_sigma, u[1]) * 1000)
    world.order += 1
    world.plugs.repairs[evse] = (repaired_at, world.order)
    ask_for_repair(world, evse)
    depart(world, index, now)


def ask_for_repair(world: World, evse: int) -> None:
    """Let SimPy call for the repair of an EVSE."""
    world.call_at(world.plugs.repairs[evse][0], partial(_repair, world, evse))


def _repair(world: World, evse: int, _: Event) -> None:
    repaired_at, _order = world.plugs.repairs.pop(evse)
    release(world, evse, repaired_at)
