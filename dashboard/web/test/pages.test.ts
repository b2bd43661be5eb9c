import { type FakeElement, storage } from "./browser";
import assert from "node:assert/strict";
import { test } from "node:test";
import { filterPanel } from "../src/map/filter_panel";
import { NO_FILTERS } from "../src/map/filters";
import type { TripAnswer } from "../src/pages/trip/answer";
import { planSummary, planView } from "../src/pages/trip/itinerary";
import type { HistoryDay } from "../src/station/answers";
import { failedStarts } from "../src/station/charts";

test("what is said of the set filters follows a changed field", () => {
  storage.set("evcharge.profiles", JSON.stringify({ Mine: { ...NO_FILTERS, freeNow: true } }));
  const { element, button } = filterPanel(() => undefined, new Promise(() => undefined), () => undefined);
  button.click = () => (button as unknown as FakeElement).dispatch("click");
  button.click();
  const form = element as unknown as FakeElement;
  const part = (id: string) => form.querySelector(`#${id}`) as FakeElement;
  const profile = (): FakeElement => {
    const all = (one: FakeElement): FakeElement[] => one.children.flatMap((child) => (typeof child === "string" ? [] : [child, ...all(child)]));
    return all(form).find((one) => one.tag === "button" && one.textContent === "Mine") as FakeElement;
  };
  assert.deepEqual([part("filter-clear").disabled, profile().getAttribute("aria-pressed")], [true, "false"]);
  const free = part("filter-free-now") as FakeElement & { checked: boolean };
  free.checked = true;
  free.dispatch("change");
  assert.deepEqual([part("filter-clear").disabled, profile().getAttribute("aria-pressed")], [false, "true"]);
  part("filter-clear").dispatch("click");
  assert.deepEqual([part("filter-clear").disabled, profile().getAttribute("aria-pressed")], [true, "false"]);
});

const trip = (departsAt: Date): TripAnswer => ({
  from: { name: "A", lat: 36, lon: -120 },
  to: { name: "B", lat: 34, lon: -118 },
  model: { make: "Hyundai", model: "Ioniq 5" },
  distance_km: 10,
  distance_is_estimate: true,
  road_source: "estimate",
  drive_s: 600,
  charge_s: 0,
  wait_s: 0,
  total_s: 600,
  energy_kwh: 2,
  feasible: true,
  failing_leg: null,
  path: [],
  legs: [{ from: "A", to: "B", distance_km: 10, drive_s: 600, energy_kwh: 2, soc_start: 80, soc_end: 77, feasible: true, path: [] }],
  stops: [],
  departs_at: departsAt.toISOString(),
  arrives_at: new Date(departsAt.getTime() + 600_000).toISOString(),
  note: null,
  state_as_of: null,
  age_s: null,
  stale: false,
});

test("a departure of another day has its day", () => {
  const noon = new Date();
  noon.setHours(12, 0, 0, 0);
  const later = new Date(noon);
  later.setDate(later.getDate() + 1);
  const day = later.toLocaleDateString("en-US", { weekday: "short", month: "short", day: "numeric" });
  const words = planView(trip(later), { avoid: () => undefined }).textContent ?? "";
  assert.ok(words.includes(`Leave on ${day} at 12:00 with`), words);
  assert.ok(words.includes(`Arrive on ${day} at about 12:10 with`), words);
  assert.ok((planView(trip(noon), { avoid: () => undefined }).textContent ?? "").includes("Leave at 12:00 with"));
  assert.equal(planSummary(trip(later), later.toISOString()), `Hyundai Ioniq 5, from 80 %, leaves on ${day} at 12:00`);
  assert.equal(planSummary(trip(noon), ""), "Hyundai Ioniq 5, from 80 %");
});

test("failed starts are a share of the sessions that they are among", () => {
  const day = (sessions: number | null, failed: number | null): HistoryDay => ({
    date: "2026-11-28",
    sessions,
    energy_kwh: 1,
    occupied_minutes: 1,
    failed_starts: failed,
    waits: 0,
    faults: 0,
    utilisation: 0.1,
  });
  assert.equal(failedStarts([day(6, 1), day(2, 1), day(null, null)]), "2 (25.0 %)");
  assert.equal(failedStarts([day(0, 0)]), "0");
  assert.equal(failedStarts([day(null, null)]), "–");
});
