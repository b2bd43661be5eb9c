import assert from "node:assert/strict";
import { test } from "node:test";
import type { Leg, Stop, TripAnswer } from "../src/pages/trip/answer";
import { boundsOf, circle } from "../src/pages/trip/geometry";
import { profilePoints } from "../src/pages/trip/profile_points";
import { departureNote, instantOf, isComplete, localTime, readQuestion, tripParameters, writeQuestion } from "../src/pages/trip/question";
import { describeChange, difference, leavesAtOnce, MOST_REPLANS, PlanWatch } from "../src/pages/trip/watch";

const stop = (id: string, more: Partial<Stop> = {}): Stop => ({
  station_id: id,
  name: `Station ${id}`,
  lat: 36,
  lon: -120,
  connector_type: "J1772COMBO",
  power_kw: 150,
  state: "free",
  arrive_at: null,
  soc_arrive: 12,
  soc_leave: 70,
  charge_s: 1200,
  expected_wait_s: 60,
  probability_free: 0.8,
  energy_kwh: 40,
  alternative: null,
  ...more,
});

const plan = (stops: Stop[], more: Partial<TripAnswer> = {}): TripAnswer => ({
  from: { name: "A", lat: 36, lon: -120 },
  to: { name: "B", lat: 34, lon: -118 },
  model: null,
  distance_km: 300,
  distance_is_estimate: true,
  road_source: "estimate",
  drive_s: 10_000,
  charge_s: 1200,
  wait_s: 60,
  total_s: 12_000,
  energy_kwh: 60,
  feasible: true,
  failing_leg: null,
  path: [],
  legs: [],
  stops,
  departs_at: null,
  arrives_at: null,
  note: null,
  state_as_of: null,
  age_s: null,
  stale: false,
  ...more,
});

test("a departure that is not kept is named", () => {
  const now = Date.parse("2026-11-29T12:00:00Z");
  assert.deepEqual(
    ["", "2026-11-29T12:30:00.000Z", "2026-11-29T11:30:00.000Z", "tomorrow"].map((at) => departureNote(at, now)),
    ["", "", "That departure has passed: planned for now.", "That departure is not a time: planned for now."],
  );
});

test("a question survives the address", () => {
  const address = "vehicle=sim-1&to=34.1,-118.2&to_name=Los+Angeles,+CA&arrive_with=15&avoid=a,b";
  const question = readQuestion(new URLSearchParams(address));
  assert.deepEqual(readQuestion(writeQuestion(question)), question);
  assert.deepEqual(question.avoid, ["a", "b"]);
  assert.equal(isComplete(question), false);
});

test("the interface is asked nothing that it does not know", () => {
  const question = readQuestion(
    new URLSearchParams("from=1,2&from_name=X&to=94103&model=m&soc=80&vehicle=v&avoid=a,a,"),
  );
  assert.equal(tripParameters(question).toString(), "from=1%2C2&to=94103&model=m&soc=80&avoid=a");
  assert.equal(isComplete(question), true);
});

test("a stop that fills up triggers once, however often it is heard", () => {
  const watch = new PlanWatch();
  watch.follow(plan([stop("a"), stop("b")]));
  assert.equal(watch.onState("elsewhere", "busy"), null);
  const trigger = watch.onState("b", "busy");
  assert.equal(trigger?.reason, "filled");
  assert.equal(trigger?.number, 2);
  assert.equal(watch.onState("b", "busy"), null);
  assert.equal(watch.onState("b", "free"), null);
  assert.equal(watch.onState("b", "busy"), null);
  // a fault of the same station is another reason
  assert.equal(watch.onState("b", "broken")?.reason, "broken");
});

test("a stop that was busy when the plan was made is no news", () => {
  const watch = new PlanWatch();
  watch.follow(plan([stop("a", { state: "busy" }), stop("c", { state: undefined })]));
  assert.equal(watch.onState("a", "busy"), null);
  assert.equal(watch.onState("c", "busy"), null);
  assert.equal(watch.onState("c", "blocked")?.reason, "blocked");
});

test("plans that swing back and forth come to an end", () => {
  const watch = new PlanWatch();
  const plans = Array.from({ length: 20 }, (_, index) => plan([stop(`s${index}`)]));
  watch.follow(plans[0]!);
  let replans = 0;
  for (let index = 0; index < 19; index += 1) {
    if (!watch.onState(`s${index}`, "busy")) break;
    replans += 1;
    watch.replace(plans[index + 1]!);
  }
  assert.equal(replans, MOST_REPLANS);
  // a question of the driver begins anew
  watch.follow(plans[19]!);
  assert.equal(watch.onState("s19", "busy")?.reason, "filled");
});

test("a wait counts when it is five minutes longer than planned", () => {
  const watch = new PlanWatch();
  watch.follow(plan([stop("a", { expected_wait_s: 120 })]));
  assert.equal(watch.onWait("a", 400), null);
  assert.equal(watch.onWait("b", 4000), null);
  assert.equal(watch.onWait("a", 420)?.reason, "wait");
  assert.equal(watch.onWait("a", 4200), null);
});

test("what changed is said in words", () => {
  const before = plan([stop("a"), stop("b")]);
  const trigger = { stop: before.stops[0]!, number: 1, reason: "filled" as const };
  assert.equal(
    describeChange(trigger, before, plan([stop("c"), stop("b")], { total_s: 12_240 })),
    "Stop 1 filled up: now via Station c, +4 min.",
  );
  assert.equal(
    describeChange(trigger, before, plan([stop("b")], { total_s: 12_000 })),
    "Stop 1 filled up: the plan now does without it, same time.",
  );
  assert.match(
    describeChange(trigger, before, plan([stop("a"), stop("b")], { total_s: 12_600 })),
    /still the best stop \(\+10 min\).* 80 %/,
  );
  assert.match(
    describeChange({ ...trigger, reason: "broken" }, before, plan([], { feasible: false })),
    /^Stop 1 is out of order, and no other plan reaches B/,
  );
  const [noon, later] = [{ arrives_at: "2026-11-29T12:00:00Z" }, { arrives_at: "2026-11-29T12:07:00Z" }];
  assert.match(
    describeChange(trigger, plan([stop("a")], noon), plan([stop("c")], later), true),
    /now via Station c, \+7 min\.$/,
  );
  assert.equal(difference(-200), "−3 min");
  assert.equal(leavesAtOnce("broken") && leavesAtOnce("blocked"), true);
  assert.equal(leavesAtOnce("filled") || leavesAtOnce("wait"), false);
});

test("the profile steps up at a stop", () => {
  const leg = (distance_km: number, soc_start: number, soc_end: number): Leg => ({
    from: "",
    to: "",
    distance_km,
    drive_s: 0,
    energy_kwh: 0,
    soc_start,
    soc_end,
    feasible: true,
    path: [],
  });
  assert.deepEqual(profilePoints([leg(100, 80, 20), leg(50, 60, 30)]), [
    { km: 0, percent: 80 },
    { km: 100, percent: 20 },
    { km: 100, percent: 60 },
    { km: 150, percent: 30 },
  ]);
});

test("a circle has its radius in every direction", () => {
  const ring = circle([-120, 40], 100);
  const bounds = boundsOf(ring);
  assert.ok(bounds);
  assert.deepEqual(ring[0], ring.at(-1));
  // a degree of latitude has 111.2 km, one of longitude at 40 degrees 85.2 km
  assert.ok(Math.abs((bounds[3] - bounds[1]) * 111.195 - 200) < 0.5);
  assert.ok(Math.abs((bounds[2] - bounds[0]) * 85.18 - 200) < 1);
});

test("a departure is asked until it is over", () => {
  const question = readQuestion(new URLSearchParams("from=a&to=b&model=m&soc=80&depart_at=2026-05-20T18:30:00.000Z"));
  const asked = (now: string) => tripParameters(question, Date.parse(now)).get("depart_at");
  assert.equal(asked("2026-05-20T18:00:00Z"), "2026-05-20T18:30:00.000Z");
  assert.equal(asked("2026-05-20T19:00:00Z"), null);
  assert.equal(tripParameters({ ...question, departAt: "soon" }).has("depart_at"), false);
});

test("a field's local time is the instant it was made from", () => {
  const instant = "2026-11-01T08:30:00.000Z";
  assert.equal(instantOf(localTime(instant)), instant);
  assert.deepEqual([instantOf(""), localTime(""), localTime("soon")], ["", "", ""]);
});

test("a departure without a zone is in the reader's", () => {
  assert.equal(readQuestion(new URLSearchParams("depart_at=2026-05-20T18:30")).departAt, instantOf("2026-05-20T18:30"));
});
