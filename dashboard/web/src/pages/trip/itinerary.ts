/** A plan as a list: what the map draws, in words and in order. */
import {
  age,
  type Child,
  connector,
  distance,
  duration,
  energy,
  h,
  KM_PER_MILE,
  moment,
  percent,
  plural,
  power,
  sentence,
  svg,
  units,
} from "../../shell";
import type { Leg, Place, Stop, TripAnswer } from "./answer";
import { placeName } from "./place_field";
import { profileChart } from "./profile";

const soc = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `${Math.round(value)}\u00a0%`;

const ROADS: Record<string, string> = {
  osrm: "from the routing engine",
  valhalla: "from the routing engine",
};

/** "no wait expected", "wait about 4 min". */
export function waitText(seconds: number | null): string {
  if (seconds === null) return "wait not known";
  if (seconds < 30) return "no wait expected";
  return seconds < 90 ? "wait about 1 min" : `wait about ${duration(Math.round(seconds / 60) * 60)}`;
}

export interface PlanActions {
  /** Plan again without this station. */
  avoid: (stationId: string) => void;
}

/** The plan's car and departure, which the closed form says. `departAt` is the one that was asked for: empty is now. */
export function planSummary(answer: TripAnswer, departAt: string): string {
  const car = [answer.model?.make, answer.model?.model].filter(Boolean).join(" ") || "The car";
  const leaves = departAt && answer.departs_at ? `, leaves ${moment(answer.departs_at)}` : "";
  return `${car}, from ${Math.round(answer.legs[0]?.soc_start ?? 0)} %${leaves}`;
}

export function planTitle(answer: TripAnswer): string {
  return `${placeName({ state_code: null, ...answer.from })} to ${placeName({ state_code: null, ...answer.to })}`;
}

export function planView(answer: TripAnswer, actions: PlanActions): HTMLElement {
  const about = answer.distance_is_estimate ? "about " : "";
  return h(
    "div",
    { class: "plan", "data-feasible": String(answer.feasible) },
    answer.feasible ? null : failure(answer),
    totals(answer, about),
    h(
      "figure",
      { class: "profile-figure" },
      h("figcaption", {}, "Charge along the way"),
      profileChart(answer, { name: profileWords(answer), axis: axisMarks }),
    ),
    h("h3", {}, "Itinerary"),
    itinerary(answer, about, actions),
    footnotes(answer),
  );
}

function failure(answer: TripAnswer): HTMLElement {
  const leg = answer.failing_leg;
  // the planner speaks in km
  const reason = (leg?.reason || "the battery does not last for it").replace(/([\d,.]+) km\b/g, (_, km: string) =>
    distance(Number.parseFloat(km.replaceAll(",", ""))),
  );
  return h(
    "div",
    { class: "failing", role: "alert", "data-failing-leg": leg?.number ?? "" },
    svg(
      "svg",
      { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
      svg("path", { d: "M12 4 2.800 19.500h18.400L12 4Zm0 6v4.500m0 2.500v.1" }),
    ),
    h(
      "div",
      {},
      h("h3", {}, "This trip cannot be made as asked"),
      leg
        ? h("p", {}, h("strong", {}, `Leg ${leg.number}, ${leg.from} to ${leg.to}, about ${distance(leg.distance_km)}`))
        : null,
      h("p", {}, `${reason.charAt(0).toUpperCase()}${reason.slice(1)}${/[.!?]$/.test(reason) ? "" : "."}`),
      h("p", {}, "More charge at the start, a smaller reserve, or fewer avoided stations may help."),
    ),
  );
}

function totals(answer: TripAnswer, about: string): HTMLElement {
  const fact = (name: string, value: string, key: string) =>
    h("div", { "data-total": key }, h("dt", {}, name), h("dd", {}, value));
  const charging = answer.stops.length ? `${duration(answer.charge_s)}` : "none";
  return h(
    "dl",
    { class: "facts totals" },
    fact("In all", `${about}${duration(answer.total_s)}`, "total"),
    fact("Distance", `${about}${distance(answer.distance_km)}`, "distance"),
    fact("Drive", duration(answer.drive_s), "drive"),
    fact("Charge", charging, "charge"),
    fact(
      "Wait",
      answer.wait_s < 30 ? "none expected" : `about ${duration(Math.round(answer.wait_s / 60) * 60)}`,
      "wait",
    ),
    fact("Energy", energy(answer.energy_kwh), "energy"),
  );
}

function profileWords(answer: TripAnswer): string {
  const legs = answer.legs.map((leg, index) => `leg ${index + 1} from ${soc(leg.soc_start)} to ${soc(leg.soc_end)}`);
  return `State of charge along the way: ${legs.join(", ")}`;
}

/** Round distances in the reader's unit, about five of them. */
export function axisMarks(lengthKm: number): { km: number; text: string }[] {
  const factor = units() === "mi" ? KM_PER_MILE : 1;
  const length = lengthKm / factor;
  const rough = length / 5;
  const magnitude = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((one) => one * magnitude).find((one) => one >= rough) ?? rough;
  const marks = [];
  for (let at = 0; at <= length; at += step)
    marks.push({ km: at * factor, text: at === 0 ? "0" : distance(at * factor) });
  return marks;
}

function place(kind: "start" | "end", at: Place, ...lines: Child[]): HTMLElement {
  return h(
    "li",
    { class: `step step-${kind}` },
    h("span", { class: "step-mark", "aria-hidden": "true" }, kind === "start" ? "A" : "B"),
    h("div", { class: "step-body" }, h("h4", {}, placeName({ state_code: null, ...at })), ...lines),
  );
}

function itinerary(answer: TripAnswer, about: string, actions: PlanActions): HTMLElement {
  const steps: HTMLElement[] = [];
  const first = answer.legs[0];
  const last = answer.legs.at(-1);
  steps.push(
    place(
      "start",
      answer.from,
      h(
        "p",
        {},
        answer.departs_at ? `Leave ${moment(answer.departs_at)} with ` : "Leave with ",
        h("strong", {}, soc(first?.soc_start)),
      ),
    ),
  );
  answer.legs.forEach((leg, index) => {
    steps.push(legStep(leg, index, about));
    const stop = answer.stops[index];
    if (stop) steps.push(stopStep(stop, index, actions));
  });
  if (answer.feasible) {
    steps.push(
      place(
        "end",
        answer.to,
        h(
          "p",
          {},
          answer.arrives_at ? `Arrive ${moment(answer.arrives_at, "about ")} with ` : "Arrive with ",
          h("strong", {}, soc(last?.soc_end)),
        ),
      ),
    );
  } else steps.push(place("end", answer.to, h("p", { class: "bad" }, "Not reached as asked")));
  return h("ol", { class: "itinerary", id: "itinerary" }, ...steps);
}

function legStep(leg: Leg, index: number, about: string): HTMLElement {
  return h(
    "li",
    {
      class: `step step-leg${leg.feasible ? "" : " step-failing"}`,
      "data-leg": (index % 4) + 1,
      "data-leg-number": index + 1,
    },
    h("span", { class: "step-mark", "aria-hidden": "true" }),
    h(
      "p",
      { class: "step-body" },
      h("span", { class: "visually-hidden" }, `Leg ${index + 1}: `),
      h("span", {}, `${about}${distance(leg.distance_km)}`),
      h("span", {}, duration(leg.drive_s)),
      h("span", {}, energy(leg.energy_kwh)),
      h(
        "span",
        {},
        `${soc(leg.soc_start)} → `,
        leg.feasible
          ? soc(leg.soc_end)
          : h("strong", { class: "bad" }, leg.soc_end < 0 ? "empty before" : soc(leg.soc_end)),
      ),
      leg.feasible ? null : h("strong", { class: "bad" }, "fails here"),
    ),
  );
}

function outlet(stop: Stop): string {
  const now =
    stop.is_known && stop.total
      ? `${stop.free ?? 0} of ${stop.total} free now`
      : stop.is_known === false
        ? "not known what is free now"
        : null;
  return [
    stop.city,
    stop.connector_type ? connector(stop.connector_type) : null,
    stop.power_kw ? power(stop.power_kw) : null,
    now,
  ]
    .filter(Boolean)
    .join(" · ");
}

function chance({ probability_free: share, is_known: isKnown }: Stop): HTMLElement {
  if (share === null) return h("span", { class: "chip", "data-state": "unknown" }, "chance of a free outlet not known");
  // where nothing is known of the station, the figure is what such stations usually have
  const state = isKnown === false ? "unknown" : share >= 0.75 ? "free" : share >= 0.4 ? "busy" : "broken";
  const words = isKnown === false ? `usually ${percent(share)} free` : `${percent(share)} free on arrival`;
  return h("span", { class: "chip", "data-state": state, "data-probability": share.toFixed(2) }, words);
}

function stopStep(stop: Stop, index: number, actions: PlanActions): HTMLElement {
  const { alternative } = stop;
  const href = `/stations/${encodeURIComponent(stop.station_id)}`;
  return h(
    "li",
    { class: "step step-stop", id: `stop-${index + 1}`, "data-stop-id": stop.station_id, tabindex: -1 },
    h("span", { class: "step-mark", "aria-hidden": "true" }, index + 1),
    h(
      "div",
      { class: "step-body" },
      h("h4", {}, h("span", { class: "visually-hidden" }, `Stop ${index + 1}: `), h("a", { href }, stop.name)),
      h("p", { class: "muted small" }, outlet(stop)),
      h(
        "p",
        { class: "stop-charge" },
        stop.arrive_at
          ? `Arrive ${moment(stop.arrive_at)} with ${soc(stop.soc_arrive)}, charge `
          : `Arrive with ${soc(stop.soc_arrive)}, charge `,
        h("strong", {}, duration(stop.charge_s)),
        ` to ${soc(stop.soc_leave)} (${energy(stop.energy_kwh)})`,
      ),
      h(
        "p",
        { class: "row" },
        chance(stop),
        h("span", { class: "chip", "data-wait": stop.expected_wait_s ?? "" }, waitText(stop.expected_wait_s)),
      ),
      alternative
        ? h(
            "div",
            { class: "alternative", "data-alternative-id": alternative.station_id },
            h(
              "p",
              {},
              "Or ",
              h("a", { href: `/stations/${encodeURIComponent(alternative.station_id)}` }, alternative.name),
              `: ${extra(alternative.extra_s)}, ${waitText(alternative.expected_wait_s)}`,
              alternative.probability_free === null ? "" : `, ${percent(alternative.probability_free)} free`,
            ),
            h(
              "button",
              {
                type: "button",
                class: "button button-small",
                "data-use-instead": alternative.station_id,
                onclick: () => actions.avoid(stop.station_id),
              },
              "Use this instead",
              h("span", { class: "visually-hidden" }, ` of stop ${index + 1}`),
            ),
          )
        : h("p", { class: "muted small" }, "No other station would do for this stop."),
    ),
  );
}

function extra(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  return minutes === 0 ? "as quick" : minutes > 0 ? `${minutes} min more` : `${-minutes} min less`;
}

function footnotes(answer: TripAnswer): HTMLElement {
  const roads = answer.road_source;
  return h(
    "div",
    { class: "footnotes muted small" },
    h(
      "p",
      {},
      answer.state_as_of ? age(answer.state_as_of, "Chargers as of ") : "Nothing is known of the chargers' state",
      answer.stale ? h("strong", {}, " · too old to rely on") : null,
    ),
    h(
      "p",
      {},
      answer.distance_is_estimate
        ? `Distances and drive times are estimates (${roads.replace(/^estimate: /, "")}). ${plural(answer.stops.length, "stop")}, each with 5 min to leave the road and plug in.`
        : `Distances ${ROADS[roads] ?? `by ${roads}`}. ${plural(answer.stops.length, "stop")}, each with 5 min to leave the road and plug in.`,
    ),
    answer.note ? h("p", {}, sentence(answer.note)) : null,
  );
}
