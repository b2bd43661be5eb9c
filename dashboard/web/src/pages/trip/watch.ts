/**
 * When a plan is made again without being asked, and how the change is told.
 *
 * It never loops: each station and reason counts once until the driver asks a new question, a station that was left stays
 * left, and there are at most `MOST_REPLANS` in a row.
 */
import type { Stop, TripAnswer } from "./answer";

export type Reason = "filled" | "blocked" | "broken" | "wait";

export interface Trigger {
  stop: Stop;
  /** From 1, as the plan shows it. */
  number: number;
  reason: Reason;
}

export const MOST_REPLANS = 5;
/** A wait counts as grown when it is this much longer than the plan said. */
const GROWN_S = 300;

const LEFT_AT_ONCE: ReadonlySet<Reason> = new Set<Reason>(["blocked", "broken"]);

export class PlanWatch {
  #stops: Stop[] = [];
  #states = new Map<string, string>();
  #counted = new Set<string>();
  #replans = 0;

  /** A plan that the driver asked for. */
  follow(answer: TripAnswer): void {
    this.#states.clear();
    this.replace(answer);
    this.#counted.clear();
    this.#replans = 0;
  }

  /** A plan that was made without being asked, or taken back. What has counted does not count again. */
  replace(answer: TripAnswer): void {
    this.#stops = answer.stops;
    for (const stop of answer.stops) {
      if (stop.state && !this.#states.has(stop.station_id)) this.#states.set(stop.station_id, stop.state);
    }
  }

  get stationIds(): string[] {
    return this.#stops.map((stop) => stop.station_id);
  }

  onState(stationId: string, state: string): Trigger | null {
    const before = this.#states.get(stationId);
    this.#states.set(stationId, state);
    if (state === before) return null;
    if (state === "broken" || state === "blocked") return this.#trigger(stationId, state);
    // without a state from before, "busy" is no news: the plan reckoned with it
    if (state === "busy" && before !== undefined) return this.#trigger(stationId, "filled");
    return null;
  }

  onWait(stationId: string, expectedWaitS: number): Trigger | null {
    const stop = this.#stops.find((candidate) => candidate.station_id === stationId);
    if (!stop || expectedWaitS < (stop.expected_wait_s ?? 0) + GROWN_S) return null;
    return this.#trigger(stationId, "wait");
  }

  #trigger(stationId: string, reason: Reason): Trigger | null {
    const index = this.#stops.findIndex((stop) => stop.station_id === stationId);
    const stop = this.#stops[index];
    const key = `${stationId} ${reason}`;
    if (!stop || this.#counted.has(key) || this.#replans >= MOST_REPLANS) return null;
    this.#counted.add(key);
    this.#replans += 1;
    return { stop, number: index + 1, reason };
  }
}

/** Whether the next plan must not use the station. One that filled up may well be free on arrival: the planner decides. */
export function leavesAtOnce(reason: Reason): boolean {
  return LEFT_AT_ONCE.has(reason);
}

const HAPPENED: Record<Reason, string> = {
  filled: "filled up",
  blocked: "is blocked",
  broken: "is out of order",
  wait: "has a longer wait",
};

/** "+4 min", "−3 min" or "same time". */
export function difference(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes === 0) return "same time";
  return `${minutes > 0 ? "+" : "−"}${Math.abs(minutes)} min`;
}

/** What the trip takes longer. A connected car has come further meanwhile, so its arrivals are compared. */
function later(before: TripAnswer, after: TripAnswer, byArrival: boolean): number {
  const arrives = [before.arrives_at, after.arrives_at].map((at) => Date.parse(at ?? "") / 1000);
  const [was, is] = arrives;
  return byArrival && was && is ? is - was : after.total_s - before.total_s;
}

/** What changed, in one or two sentences. */
export function describeChange(trigger: Trigger, before: TripAnswer, after: TripAnswer, byArrival = false): string {
  const what = `Stop ${trigger.number} ${HAPPENED[trigger.reason]}`;
  if (!after.feasible) return `${what}, and no other plan reaches ${after.to.name}. See which leg fails.`;
  const kept = after.stops.find((stop) => stop.station_id === trigger.stop.station_id);
  const change = difference(later(before, after, byArrival));
  if (kept) {
    const chance = kept.probability_free;
    const free = chance === null ? "" : ` The chance that it is free when you arrive is ${Math.round(chance * 100)} %.`;
    return `${what}. It is still the best stop (${change}).${free}`;
  }
  const known = new Set(before.stops.map((stop) => stop.station_id));
  const fresh = after.stops.filter((stop) => !known.has(stop.station_id)).map((stop) => stop.name);
  if (fresh.length === 0) return `${what}: the plan now does without it, ${change}.`;
  return `${what}: now via ${fresh.join(" and ")}, ${change}.`;
}
