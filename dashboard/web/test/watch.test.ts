import { body, type FakeElement, storage } from "./browser";
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { toast } from "../src/lib/announce";
import type { MapStation } from "../src/lib/types";
import { type Outlets, outletsInWords, seen, toggleWatch, watches } from "../src/map/watch";

const CCS: Outlets = { connector: "J1772COMBO", minPowerKw: 50, maxPowerKw: null };
const ANY: Outlets = { connector: "", minPowerKw: null, maxPowerKw: null };

const station = (part: Partial<MapStation> = {}): MapStation => ({
  id: "a",
  name: "Pilot",
  city: null,
  state_code: null,
  lat: 40,
  lon: -100,
  state: "busy",
  free: 0,
  total: 2,
  power_kw: 50,
  connectors: [],
  network: null,
  queue_length: null,
  last_event_at: null,
  remark: null,
  likely_free: null,
  fits: true,
  ...part,
});

/** What the map answers, and what it was asked. */
let answer: (asked: URLSearchParams) => { stations: MapStation[]; stale?: boolean; mode?: string };
let questions: URLSearchParams[] = [];

const fetchBefore = globalThis.fetch;
const texts = (): string[] => body.children.flatMap((region) => (typeof region === "string" ? [] : region.children)).map((one) => (one as FakeElement).textContent);
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

beforeEach(() => {
  storage.clear();
  questions = [];
  answer = () => ({ stations: [] });
  globalThis.fetch = (async (address: string) => {
    const asked = new URL(address, "http://pages").searchParams;
    questions.push(asked);
    return { ok: true, json: async () => ({ stale: false, mode: "stations", ...answer(asked) }) };
  }) as unknown as typeof fetch;
});

afterEach(async () => {
  await settled();
  globalThis.fetch = fetchBefore;
  for (const region of body.children) (region as FakeElement).replaceChildren();
});

test("a free outlet of another connector ends no watch", async () => {
  await toggleWatch(station(), CCS);
  await settled();
  answer = () => ({ stations: [station({ state: "busy" })] });
  await seen(station({ state: "free", free: 1, total: 4 }));
  const asked = questions.at(-1);
  assert.deepEqual([asked?.get("connector"), asked?.get("min_power_kw"), asked?.get("free_now")], ["J1772COMBO", "50", null]);
  assert.equal(watches().length, 1);
  assert.ok(!texts().some((text) => text.includes("is free:")));
});

test("a watch under a filter tells of the outlets that fit, by name", async () => {
  await toggleWatch(station(), CCS);
  answer = () => ({ stations: [station({ state: "free", free: 1, total: 2 })] });
  await seen(station({ state: "free", free: 3, total: 6 }));
  assert.equal(watches().length, 0);
  assert.ok(texts().some((text) => text.startsWith("Pilot is free: 1 of 2 CCS outlets of at least 50 kW.")));
});

test("a watch for any outlet believes a push, but not what a filter shows", async () => {
  await toggleWatch(station(), ANY);
  await settled();
  questions = [];
  answer = () => ({ stations: [station({ state: "free", free: 2, total: 6 })] });
  await seen(station({ state: "free", free: 1, total: 1 }), true);
  assert.ok(texts().some((text) => text.startsWith("Pilot is free: 2 of 6 outlets.")));
  assert.equal(questions.length, 1);
  await toggleWatch(station(), ANY);
  await settled();
  questions = [];
  await seen(station({ state: "free", free: 1, total: 6 }));
  assert.ok(texts().some((text) => text.startsWith("Pilot is free: 1 of 6 outlets.")));
  assert.equal(questions.length, 0);
});

test("a favourite without such an outlet is waited for with any", async () => {
  await toggleWatch(station({ fits: false }), CCS);
  assert.deepEqual(watches().map(({ connector, minPowerKw }) => [connector, minPowerKw]), [["", null]]);
  await toggleWatch(station({ fits: false }), CCS);
  answer = () => ({ stations: [station()] });
  await toggleWatch(station({ fits: false }), CCS);
  assert.deepEqual(watches().map(({ connector, minPowerKw }) => [connector, minPowerKw]), [["J1772COMBO", 50]]);
});

test("a watch begins with one message, and offers what the driver can use", async () => {
  answer = (asked) => ({ stations: asked.get("connector") === "J1772COMBO" ? [station({ id: "b", name: "Loves", state: "free", free: 1 })] : [] });
  await toggleWatch(station(), CCS);
  await settled();
  assert.equal(texts().length, 1);
  assert.match(texts()[0] ?? "", /^Pilot is still full \(CCS outlets of at least 50 kW\)\. Free nearby: Loves \(0\.0 km\)\. This page tells you when Pilot is free\./);
  assert.ok(questions.every((asked) => asked.get("min_power_kw") === "50"));
});

test("nothing is said of the surroundings where they are not known", async () => {
  answer = () => ({ stations: [], stale: true });
  await toggleWatch(station(), ANY);
  await settled();
  assert.deepEqual(texts().map((text) => text.includes("full")), [false]);
});

test("wanted outlets in words", () => {
  assert.deepEqual(
    [ANY, { ...ANY, maxPowerKw: 22 }, { ...CCS, maxPowerKw: 150 }].map(outletsInWords),
    ["outlets", "outlets of at most 22 kW", "CCS outlets of 50 kW to 150 kW"],
  );
});

test("the newest two messages of a kind stay", () => {
  for (const name of ["A", "B", "C"]) toast(`${name} is free`, { kind: "good", seconds: 0 });
  toast("Something else", { seconds: 0 });
  assert.deepEqual(texts().map((text) => text.replace("×", "")), ["B is free", "C is free", "Something else"]);
});
