import assert from "node:assert/strict";
import { test } from "node:test";
import { duration } from "../src/lib/format";
import type { MapStation } from "../src/lib/types";
import { filterParams, filtersOf, fits, NO_FILTERS, selectsOutlets } from "../src/map/filters";
import { boxAround, distanceKm, fitting, holds, padded, within } from "../src/map/geometry";
import { clusterIcon, stationIcon } from "../src/map/marks";

const station = (part: Partial<MapStation>): MapStation => ({
  id: "a",
  name: "A",
  city: null,
  state_code: null,
  lat: 0,
  lon: 0,
  state: "free",
  free: 1,
  total: 2,
  power_kw: 50,
  connectors: [],
  network: "N",
  queue_length: 0,
  last_event_at: null,
  remark: null,
  likely_free: null,
  fits: true,
  ...part,
});

test("filters survive the URL", () => {
  const filters = { connector: "J1772COMBO", minPowerKw: 50, maxPowerKw: 150, minFree: 2, network: 'A & "B"', freeNow: true, likelyFreeInMin: 30 };
  const search = new URLSearchParams(Object.entries(filterParams(filters)).map(([name, value]) => [name, String(value)]));
  assert.deepEqual(filtersOf(new URLSearchParams(search.toString())), filters);
});

test("what a URL should not say is left out", () => {
  const search = new URLSearchParams({ min_power_kw: "-1", max_power_kw: "lots", min_free: "9", free_now: "1", likely_free_in_min: "1e9" });
  assert.deepEqual(filtersOf(search), NO_FILTERS);
});

test("a pushed station is judged here only where all its outlets count", () => {
  assert.equal(selectsOutlets({ ...NO_FILTERS, freeNow: true, network: "N" }), false);
  assert.equal(selectsOutlets({ ...NO_FILTERS, maxPowerKw: 0 }), true);
  assert.equal(fits({ ...NO_FILTERS, freeNow: true }, station({ free: 0, state: "busy" })), false);
  assert.equal(fits({ ...NO_FILTERS, minFree: 2 }, station({ free: 2 })), true);
  assert.equal(fits({ ...NO_FILTERS, network: "M" }, station({})), false);
});

test("a box around a centre fits it again", () => {
  const box = boxAround({ lat: 39, lon: -96 }, 7, 1000, 800);
  const { center, zoom } = fitting(box, 1000, 800, 0);
  assert.ok(Math.abs(zoom - 7) < 0.01);
  assert.ok(Math.abs(center.lat - 39) < 0.01 && Math.abs(center.lon + 96) < 0.01);
  assert.ok(holds(box, { lat: 39, lon: -96 }));
  assert.ok(within(box, padded(box, 0.1)) && !within(padded(box, 0.1), box));
});

test("no box leaves the globe", () => {
  const box = padded(boxAround({ lat: 84, lon: 179 }, 1, 2000, 2000), 1);
  assert.deepEqual([box.west, box.east, box.north, box.south], [-180, 180, 85, -85]);
});

test("distances are great circles", () => {
  // Houston to Dallas
  assert.ok(Math.abs(distanceKm({ lat: 29.76, lon: -95.37 }, { lat: 32.78, lon: -96.8 }) - 362) < 3);
});

test("an unknown station looks neither free nor busy", () => {
  const names = ["free", "busy", "blocked", "broken", "planned", "unknown"] as const;
  assert.equal(new Set(names.map((state) => stationIcon(state, 3))).size, names.length);
  assert.equal(stationIcon("unknown", 3), stationIcon("unknown", 0));
});

test("a small share of a group is still seen", () => {
  const icon = clusterIcon(1000, (state) => (state === "free" ? 999 : state === "broken" ? 1 : 0));
  assert.equal(icon, "cluster:64:16-0-0-0-1-0");
});

test("durations have two units at most", () => {
  assert.deepEqual([0, 59.4, 90, 3600, 7500, 200_000, null].map(duration), ["0 s", "59 s", "2 min", "1 h", "2 h 5 min", "2 d", "–"]);
});
