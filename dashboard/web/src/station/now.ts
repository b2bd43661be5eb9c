/** What the station does now: its head, its outlets with their sessions, and the cars that head for it. */
import { mark, STATE_WORDS } from "../map/marks";
import { outletWords } from "../map/rows";
import { age, clock, connector, distance, energy, h, type MapStation, number, plural, power, serverNow, type State } from "../shell";
import type { EvseNow, InboundCar, RunningSession, StationAnswer } from "./answers";

/** OCPI's status of an EVSE, as the map's state and in words. */
const STATUS: Record<string, [State, string]> = {
  AVAILABLE: ["free", "Free"],
  CHARGING: ["busy", "Charging"],
  RESERVED: ["busy", "Reserved"],
  BLOCKED: ["blocked", "Blocked: charged, still plugged in"],
  INOPERATIVE: ["broken", "Out of order"],
  OUTOFORDER: ["broken", "Out of order"],
  REMOVED: ["broken", "Removed"],
  PLANNED: ["planned", "Planned"],
  UNKNOWN: ["unknown", "Unknown"],
};

export const statusOf = (status: string): [State, string] => STATUS[status] ?? ["unknown", status];

function modelName(id: string | null): string {
  if (!id) return "";
  return id
    .split(/[-_]/)
    .map((part) => (part.length <= 3 && /\d|^[a-z]{1,2}$/.test(part) ? part.toUpperCase() : part.charAt(0).toUpperCase() + part.slice(1)))
    .join(" ");
}

function ends(session: RunningSession, zone: string): string {
  if (!session.expected_end_at) return "its end is not known";
  const leftMs = Date.parse(session.expected_end_at) - serverNow();
  if (leftMs < -60_000) return `was expected to end at ${clock(session.expected_end_at, zone)}`;
  const minutes = Math.max(1, Math.round(leftMs / 60_000));
  return `expected to end in ${minutes} min, at ${clock(session.expected_end_at, zone)}`;
}

function outlet(evse: EvseNow, index: number, zone: string): HTMLElement {
  const [state, words] = statusOf(evse.status);
  const { session } = evse;
  const charge = session?.state_of_charge;
  return h(
    "li",
    { class: "outlet", "data-state": state, "data-evse-id": evse.evse_id, "data-status": evse.status },
    mark(state),
    h(
      "div",
      { class: "outlet-words" },
      h("p", { class: "outlet-name" }, h("strong", {}, `Outlet ${index + 1}`), ` · ${connector(evse.connector_type)} · ${power(evse.power_kw)}`),
      h("p", { class: "outlet-status" }, words, evse.since_at ? age(evse.since_at, " · since ") : h("span", {}, " · since when is not known")),
      session
        ? h(
            "div",
            { class: "outlet-session small" },
            h(
              "p",
              {},
              [modelName(session.ev_model_id), `${energy(session.energy_delivered_kwh)} so far`, session.power_kw ? `at ${power(session.power_kw)}` : ""]
                .filter(Boolean)
                .join(" · "),
            ),
            charge === null || charge === undefined
              ? null
              : h(
                  "div",
                  { class: "soc" },
                  h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: `width:${Math.min(100, Math.max(0, charge))}%` })),
                  h("span", { class: "figure" }, `${number(charge)} %`),
                ),
            evse.status === "CHARGING" ? h("p", { class: "outlet-end" }, ends(session, zone)) : null,
          )
        : null,
    ),
  );
}

export function outletsCard(answer: StationAnswer): HTMLElement {
  const waiting = answer.queue_length;
  return h(
    "section",
    { class: "card", id: "outlets", "aria-labelledby": "outlets-title" },
    h(
      "div",
      { class: "row spread" },
      h("h2", { id: "outlets-title" }, "Outlets now"),
      waiting === null
        ? h("span", { class: "chip", "data-queue": "unknown" }, "Queue unknown")
        : h("span", { class: "chip", "data-queue": waiting, "data-state": waiting ? "busy" : null }, waiting ? `${plural(waiting, "car")} waiting` : "Nobody waits"),
    ),
    answer.evses.length
      ? h("ul", { class: "outlets" }, ...answer.evses.map((evse, index) => outlet(evse, index, answer.time_zone)))
      : h("p", { class: "muted" }, answer.total_outlets ? `${plural(answer.total_outlets, "outlet")}: none of them has reported yet.` : "The registry does not say how many outlets it has."),
  );
}

export function inboundCard(cars: InboundCar[], note: string | null | undefined): HTMLElement {
  return h(
    "section",
    { class: "card", id: "inbound", "aria-labelledby": "inbound-title" },
    h("h2", { id: "inbound-title" }, "Cars on their way here"),
    note ? h("p", { class: "small muted" }, note) : null,
    cars.length
      ? h(
          "ul",
          { class: "inbound" },
          ...cars.slice(0, 12).map((car) =>
            h(
              "li",
              { "data-vehicle-id": car.vehicle_id },
              h("span", {}, modelName(car.ev_model_id) || "A car", h("span", { class: "muted small" }, car.by === "heading" ? " · drives this way" : car.by === "destination" ? " · navigates here" : "")),
              h("span", { class: "figure" }, `${distance(car.distance_km)} · ${Math.max(1, Math.round(car.eta_minutes))} min`),
              h("span", { class: "muted small figure" }, car.state_of_charge === null ? "" : `${number(car.state_of_charge)} %`),
            ),
          ),
          cars.length > 12 ? h("li", { class: "muted small" }, `and ${cars.length - 12} more`) : null,
        )
      : note
        ? null
        : h("p", { class: "muted" }, "No connected car heads for this station. Other cars are not known."),
  );
}

export function headline(station: MapStation, answer: StationAnswer): HTMLElement {
  return h(
    "p",
    { class: "station-headline", "data-state": station.state, "data-station-id": station.id },
    mark(station.state),
    h("strong", {}, STATE_WORDS[station.state]),
    h("span", {}, outletWords(station)),
    h("span", { class: "muted small" }, station.last_event_at ? age(station.last_event_at, "heard ") : "never heard", " · ", age(answer.state_as_of, "as of ")),
  );
}
