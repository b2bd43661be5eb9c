import assert from "node:assert/strict";
import { test } from "node:test";
import { level, quantile } from "../src/pages/network/scale";
import { bytes, diskGrade, gradeOf, summary } from "../src/pages/status/grade";

test("a heatmap's colours go from none to the darkest", () => {
  assert.equal(level(null, 10), null);
  assert.equal(level(0, 10), 0);
  assert.equal(level(0.01, 10), 1);
  assert.equal(level(10, 10), 6);
  assert.equal(level(900, 10), 6);
  assert.equal(level(3, 0), 0);
});

test("one extreme does not set the scale", () => {
  assert.equal(quantile([...Array.from({ length: 99 }, (_, index) => index), 10_000], 0.98), 98);
  assert.equal(quantile([], 0.98), 0);
});

test("states have a grade, and an unknown word none", () => {
  assert.deepEqual(["current", "behind", "Down", "building", "sideways", ""].map(gradeOf), [
    "good",
    "warn",
    "bad",
    "coming",
    "none",
    "none",
  ]);
});

test("the headline names the worst, each once", () => {
  const item = (name: string, grade: "good" | "warn" | "bad" | "coming") => ({ name, grade });
  assert.deepEqual(summary([item("Kafka", "good")]), { grade: "good", text: "Everything is up and current" });
  assert.equal(
    summary([item("lakeFS", "coming"), item("lakeFS", "coming")]).text,
    "lakeFS still to come; the rest is up",
  );
  assert.deepEqual(summary([item("the disk", "bad"), item("b", "warn"), item("c", "bad")]), {
    grade: "bad",
    text: "The disk and c need help",
  });
});

test("disks and bytes", () => {
  assert.deepEqual(
    [50e9, 9e9, 0.9e9, null].map((free) =>
      diskGrade({ free_bytes: free, total_bytes: 100e9, reserve_bytes: 1e9 }),
    ),
    ["good", "warn", "bad", "none"],
  );
  assert.deepEqual([bytes(999), bytes(41e9), bytes(120e9), bytes(null)], ["999 B", "41.0 GB", "120 GB", "–"]);
});
