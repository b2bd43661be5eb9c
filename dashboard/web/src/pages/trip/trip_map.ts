/** The trip on the map: legs, stops, their alternatives, and the connected car. The itinerary says the same in words. */
import type { FeatureCollection } from "geojson";
import type { GeoJSONSource, Marker } from "maplibre-gl";
import { BELOW_NAMES, createMap, type MapLibre } from "../../map/base";
import { h, onTheme, reducedMotion, svg, type Vehicle } from "../../shell";
import type { Coordinates, TripAnswer } from "./answer";
import type { Box } from "./car";
import { boundsOf, circle, pointsOf, ROAD_FACTOR } from "./geometry";

type Engine = typeof import("../../map/engine");

const NOTHING: FeatureCollection = { type: "FeatureCollection", features: [] };
/** The style sheet's colours of the four leg colours, the failing leg and the car. */
const COLOURS = ["--leg-1", "--leg-2", "--leg-3", "--leg-4", "--broken", "--car"] as const;

export class TripMap {
  #map: MapLibre | null = null;
  #engine: Engine | null = null;
  #markers: Marker[] = [];
  #car: Marker | null = null;
  #arrow: SVGElement | null = null;
  #follow = false;
  readonly #ready: Promise<boolean>;

  constructor(
    private readonly host: HTMLElement,
    private readonly pick: (vehicleId: string) => void,
  ) {
    this.#ready = this.#open();
  }

  /** Whether this browser draws a map. */
  get ready(): Promise<boolean> {
    return this.#ready;
  }

  async #open(): Promise<boolean> {
    const made = await createMap(this.host, { label: "Map of the trip" });
    if (!made) {
      this.host.append(
        h("p", { class: "trip-no-map" }, "This browser draws no map (WebGL is off). The itinerary has everything."),
      );
      return false;
    }
    const { map, styled } = made;
    this.#engine = await import("../../map/engine");
    await styled;
    this.#map = map;
    for (const name of ["ring", "legs", "cars"]) map.addSource(`trip-${name}`, { type: "geojson", data: NOTHING });
    const before = map.getLayer(BELOW_NAMES) ? BELOW_NAMES : undefined;
    map.addLayer({ id: "trip-ring", type: "fill", source: "trip-ring", paint: { "fill-opacity": 0.07 } }, before);
    map.addLayer(
      {
        id: "trip-ring-edge",
        type: "line",
        source: "trip-ring",
        paint: { "line-width": 1.6, "line-dasharray": [3, 2] },
      },
      before,
    );
    const rounded = { "line-cap": "round", "line-join": "round" } as const;
    map.addLayer(
      { id: "trip-casing", type: "line", source: "trip-legs", layout: rounded, paint: { "line-width": 9 } },
      before,
    );
    map.addLayer(
      {
        id: "trip-legs",
        type: "line",
        source: "trip-legs",
        filter: ["get", "feasible"],
        layout: rounded,
        paint: { "line-width": 5 },
      },
      before,
    );
    map.addLayer(
      {
        id: "trip-failing",
        type: "line",
        source: "trip-legs",
        filter: ["!", ["get", "feasible"]],
        paint: { "line-width": 5, "line-dasharray": [1.4, 1] },
      },
      before,
    );
    map.addLayer({
      id: "trip-cars",
      type: "circle",
      source: "trip-cars",
      paint: { "circle-radius": 6, "circle-stroke-width": 2 },
    });
    map.on("click", "trip-cars", (event) => {
      const id: unknown = event.features?.[0]?.properties["id"];
      if (typeof id === "string") this.pick(id);
    });
    map.on("mouseenter", "trip-cars", () => (map.getCanvas().style.cursor = "pointer"));
    map.on("mouseleave", "trip-cars", () => (map.getCanvas().style.cursor = ""));
    map.on("dragstart", () => (this.#follow = false));
    this.#paint();
    onTheme(() => this.#paint());
    return true;
  }

  #paint(): void {
    const map = this.#map;
    if (!map) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: (typeof COLOURS)[number] | "--card" | "--paper") => style.getPropertyValue(name).trim();
    map.setPaintProperty("trip-legs", "line-color", [
      "match",
      ["get", "colour"],
      1,
      colour("--leg-1"),
      2,
      colour("--leg-2"),
      3,
      colour("--leg-3"),
      colour("--leg-4"),
    ]);
    map.setPaintProperty("trip-failing", "line-color", colour("--broken"));
    map.setPaintProperty("trip-casing", "line-color", colour("--card"));
    map.setPaintProperty("trip-ring", "fill-color", colour("--car"));
    map.setPaintProperty("trip-ring-edge", "line-color", colour("--car"));
    map.setPaintProperty("trip-cars", "circle-color", colour("--car"));
    map.setPaintProperty("trip-cars", "circle-stroke-color", colour("--card"));
  }

  /** What the map shows now; null before it is there. */
  get view(): Box | null {
    const bounds = this.#map?.getBounds();
    if (!bounds) return null;
    const clamp = (value: number, most: number) => Math.max(-most, Math.min(most, value));
    return {
      west: clamp(bounds.getWest(), 180),
      south: clamp(bounds.getSouth(), 90),
      east: clamp(bounds.getEast(), 180),
      north: clamp(bounds.getNorth(), 90),
    };
  }

  /** Draws the plan. Where a connected car makes the trip, the car itself marks the start. */
  async showPlan(answer: TripAnswer | null, move: boolean, withCar: boolean): Promise<void> {
    if (!(await this.#ready) || !this.#map) return;
    for (const marker of this.#markers) marker.remove();
    this.#markers = [];
    this.host.dataset["stops"] = answer ? answer.stops.map((stop) => stop.station_id).join(",") : "";
    this.#set("trip-legs", {
      type: "FeatureCollection",
      features: (answer?.legs ?? []).map((leg, index) => ({
        type: "Feature",
        properties: { colour: (index % 4) + 1, feasible: leg.feasible },
        geometry: { type: "LineString", coordinates: leg.path },
      })),
    });
    if (!answer) return;
    // what comes later lies above: the stops matter most
    if (!withCar) this.#mark(answer.from, h("span", { class: "pin pin-end", title: answer.from.name }, "A"));
    this.#mark(answer.to, h("span", { class: "pin pin-end", title: answer.to.name }, "B"));
    for (const stop of answer.stops) {
      if (stop.alternative)
        this.#mark(
          stop.alternative,
          h("span", { class: "pin pin-hollow", title: `Instead: ${stop.alternative.name}` }),
        );
    }
    answer.stops.forEach((stop, index) => {
      const open = (): void => {
        const step = document.getElementById(`stop-${index + 1}`);
        step?.scrollIntoView({ block: "center", behavior: reducedMotion() ? "auto" : "smooth" });
        step?.focus({ preventScroll: true });
      };
      this.#mark(
        stop,
        h(
          "span",
          { class: "pin pin-stop", title: stop.name, "data-map-stop": stop.station_id, onclick: open },
          index + 1,
        ),
      );
    });
    if (move) this.#fit(pointsOf(answer));
  }

  /** The connected car where it last said it was; null takes it away. */
  async showCar(vehicle: Vehicle | null, move: boolean): Promise<void> {
    if (!(await this.#ready) || !this.#map || !this.#engine) return;
    if (!vehicle) {
      this.#car?.remove();
      this.#car = null;
      this.#set("trip-ring", NOTHING);
      return;
    }
    const at: Coordinates = [vehicle.lon, vehicle.lat];
    if (!this.#car) {
      this.#arrow = svg("svg", { viewBox: "0 0 32 32" }, svg("path", { d: "M16 3.500 26 27l-10-5-10 5z" }));
      const element = h("div", { class: "car-marker", "data-car": vehicle.id }, this.#arrow);
      this.#car = new this.#engine.Marker({ element }).setLngLat(at).addTo(this.#map);
      element.setAttribute("aria-hidden", "true");
      element.removeAttribute("role");
      element.removeAttribute("tabindex");
    }
    this.#car.setLngLat(at);
    this.#car.getElement().dataset["car"] = vehicle.id;
    if (this.#arrow) this.#arrow.style.transform = `rotate(${Math.round(vehicle.heading ?? 0)}deg)`;
    const radiusKm = (vehicle.range_km ?? 0) / ROAD_FACTOR;
    const ring = radiusKm > 0 ? circle(at, radiusKm) : [];
    this.#set(
      "trip-ring",
      ring.length
        ? {
            type: "FeatureCollection",
            features: [{ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } }],
          }
        : NOTHING,
    );
    if (move) this.#fit(ring.length ? ring : [at]);
    else if (this.#follow) this.#map.easeTo({ center: at, duration: reducedMotion() ? 0 : 800 });
  }

  /** Cars to pick from. */
  async showCars(vehicles: Vehicle[]): Promise<void> {
    if (!(await this.#ready)) return;
    this.#set("trip-cars", {
      type: "FeatureCollection",
      features: vehicles.map((vehicle) => ({
        type: "Feature",
        properties: { id: vehicle.id },
        geometry: { type: "Point", coordinates: [vehicle.lon, vehicle.lat] },
      })),
    });
  }

  /** Keeps the car in the middle until the map is dragged. */
  follow(on: boolean): void {
    this.#follow = on;
    const at = this.#car?.getLngLat();
    if (on && at && this.#map)
      this.#map.easeTo({ center: at, zoom: Math.max(9, this.#map.getZoom()), duration: reducedMotion() ? 0 : 600 });
  }

  onDrag(listener: () => void): void {
    void this.#ready.then(() => this.#map?.on("dragstart", listener));
  }

  #mark(place: { lat: number; lon: number }, element: HTMLElement): void {
    if (!this.#map || !this.#engine) return;
    this.#markers.push(new this.#engine.Marker({ element }).setLngLat([place.lon, place.lat]).addTo(this.#map));
    // the itinerary is the way to the stops for keyboards and screen readers
    element.setAttribute("aria-hidden", "true");
    element.removeAttribute("role");
    element.removeAttribute("tabindex");
  }

  #set(source: string, data: FeatureCollection): void {
    this.#map?.getSource<GeoJSONSource>(source)?.setData(data);
  }

  #fit(points: Coordinates[]): void {
    const bounds = boundsOf(points);
    if (!bounds || !this.#map) return;
    const narrow = this.host.clientWidth < 500;
    this.#map.fitBounds(bounds, { padding: narrow ? 36 : 70, maxZoom: 12, duration: reducedMotion() ? 0 : 700 });
  }
}
