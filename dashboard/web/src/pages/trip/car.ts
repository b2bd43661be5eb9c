/** A simulated car: its telemetry as words, and the list to pick one from. */
import { age, distance, fill, h, number, sentence, speed, type Vehicle } from "../../shell";
import type { EvModel } from "./answer";

export interface Box {
  west: number;
  south: number;
  east: number;
  north: number;
}

/** The contiguous United States, until there is a map's view. */
export const EVERYWHERE: Box = { west: -125, south: 24, east: -66, north: 50 };
/** More cars than these nobody reads through; the search finds the others by their id. */
export const LISTED_CARS = 40;

export const isOn = (vehicle: Vehicle): boolean => vehicle.ignition === true || vehicle.ignition === "on";

export function modelName(models: EvModel[], id: string | null | undefined): string {
  const model = models.find((candidate) => candidate.ev_model_id === id);
  return model ? `${model.make} ${model.model}` : (id ?? "model not known");
}

const POINTS = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"];

/** "north-east" for 45 degrees. */
export function compass(heading: number): string {
  return POINTS[Math.round((((heading % 360) + 360) % 360) / 45) % 8] ?? "north";
}

export function moving(vehicle: Vehicle): string {
  if (!isOn(vehicle)) return "parked";
  const pace = vehicle.speed_kmh ? speed(vehicle.speed_kmh) : "standing";
  return vehicle.speed_kmh && vehicle.heading !== null ? `${pace}, heading ${compass(vehicle.heading)}` : pace;
}

/** The picked car's telemetry. It is filled anew at each report. */
export function showTelemetry(host: HTMLElement, vehicle: Vehicle, models: EvModel[]): void {
  const charge = Math.round(vehicle.state_of_charge ?? 0);
  const level = h("span");
  level.style.width = `${charge}%`;
  const goesTo = vehicle.destination_station_id;
  host.dataset["vehicleId"] = vehicle.id;
  fill(
    host,
    h(
      "div",
      { class: "row spread" },
      h("strong", {}, modelName(models, vehicle.ev_model_id)),
      h("code", { class: "small" }, vehicle.id),
    ),
    h("div", { class: "meter", "aria-hidden": "true" }, level),
    h(
      "dl",
      { class: "facts" },
      h(
        "div",
        { "data-telemetry": "soc" },
        h("dt", {}, "Charge"),
        h("dd", {}, vehicle.state_of_charge === null ? "–" : `${number(vehicle.state_of_charge)} %`),
      ),
      h("div", { "data-telemetry": "range" }, h("dt", {}, "Range, about"), h("dd", {}, distance(vehicle.range_km))),
      h("div", { "data-telemetry": "moving" }, h("dt", {}, "Now"), h("dd", { class: "small" }, moving(vehicle))),
    ),
    h(
      "p",
      { class: "muted small" },
      age(vehicle.occurred_at, "heard "),
      goesTo
        ? h("span", {}, " · on its way to ", h("a", { href: `/stations/${encodeURIComponent(goesTo)}` }, "a station"))
        : null,
    ),
  );
}

export interface CarList {
  element: HTMLElement;
  show: (vehicles: Vehicle[], truncated: boolean) => void;
  fail: (error: unknown) => void;
  busy: () => void;
}

export interface CarListOptions {
  models: () => EvModel[];
  pick: (id: string) => void;
  refresh: () => void;
}

export function carList({ models, pick, refresh }: CarListOptions): CarList {
  let vehicles: Vehicle[] = [];
  const search = h("input", {
    class: "input",
    type: "search",
    id: "car-search",
    maxlength: 100,
    placeholder: "Id or model",
    autocomplete: "off",
  });
  const state = h("p", { class: "muted small", role: "status" });
  const list = h("ul", { class: "cars", "aria-label": "Simulated cars" });

  const draw = (truncated = false): void => {
    const wanted = search.value.trim().toLowerCase();
    const found = vehicles.filter((vehicle) =>
      `${vehicle.id} ${modelName(models(), vehicle.ev_model_id)}`.toLowerCase().includes(wanted),
    );
    state.textContent = found.length
      ? `${found.length}${truncated ? " and more" : ""} in the map's view`
      : wanted
        ? "No car of the list has this id or model. Enter picks it by its id."
        : "No car is in the map's view. Zoom out, and list again.";
    fill(
      list,
      ...found
        .slice(0, LISTED_CARS)
        .map((vehicle) =>
          h(
            "li",
            {},
            h(
              "button",
              { type: "button", "data-vehicle": vehicle.id, onclick: () => pick(vehicle.id) },
              h("span", {}, modelName(models(), vehicle.ev_model_id)),
              h(
                "strong",
                { class: "figure" },
                vehicle.state_of_charge === null ? "–" : `${number(vehicle.state_of_charge)} %`,
              ),
              h("span", { class: "muted small" }, `${vehicle.id} · ${moving(vehicle)}`),
              h("span", { class: "muted small figure" }, distance(vehicle.range_km)),
            ),
          ),
        ),
    );
  };

  search.addEventListener("input", () => draw());
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (search.value.trim()) pick(search.value.trim());
  });

  return {
    element: h(
      "div",
      { class: "car-list" },
      h(
        "div",
        { class: "row car-search" },
        h("label", { class: "field" }, "Find a car", search),
        h("button", { type: "button", class: "button button-small", onclick: refresh }, "Cars in the map's view"),
      ),
      state,
      list,
    ),
    show: (next, truncated) => {
      vehicles = next;
      draw(truncated);
    },
    fail: (error) => {
      state.textContent = sentence(error);
      list.replaceChildren();
    },
    busy: () => {
      state.textContent = "Looking for cars…";
    },
  };
}
