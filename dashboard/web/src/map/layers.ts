/** Stations, groups of stations and cars on a map. Every change is a difference: nothing is removed to be added again. */
import type {
  ExpressionSpecification,
  GeoJSONSource,
  GeoJSONSourceDiff,
  GeoJSONSourceSpecification,
  LayerSpecification,
  Map as MapLibre,
} from "maplibre-gl";
import { onTheme, type Theme, theme } from "../lib/theme";
import type { MapCluster, MapStation, State, Vehicle } from "../lib/types";
import { MAP_FONT_BOLD, type StyleParts } from "./base";
import { clusterIcon, draw, stationIcon } from "./marks";

type Feature = GeoJSON.Feature<GeoJSON.Point, Record<string, unknown>>;

const PATCH_EVERY_MS = 150;

/** A source whose features have ids; it remembers what it holds, and sends only what differs. */
class DiffSource {
  private held: Map<string, Feature>;
  private queued: Map<string, Feature | null> = new Map();
  private timer = 0;
  private isHeldBack = false;
  private work: Promise<void> = Promise.resolve();

  /** `features` are those that the source has from its beginning. */
  constructor(
    private readonly map: MapLibre,
    private readonly name: string,
    features: Feature[] = [],
  ) {
    this.held = new Map(features.map((feature) => [String(feature.properties.id), feature]));
  }

  has(id: string): boolean {
    return this.held.has(id);
  }

  /** Makes the source hold exactly these features. */
  async set(features: Feature[]): Promise<void> {
    const next = new Map(features.map((feature) => [String(feature.properties.id), feature]));
    for (const id of this.held.keys()) if (!next.has(id)) this.queued.set(id, null);
    for (const [id, feature] of next) this.queued.set(id, feature);
    await this.send();
  }

  /** Changes one feature, or removes it, soon: many changes travel together. */
  patch(id: string, feature: Feature | null): void {
    this.queued.set(id, feature);
    if (!this.isHeldBack) this.timer ||= setTimeout(() => void this.send(), PATCH_EVERY_MS);
  }

  /** Single changes wait while a whole view is being drawn: each would have its tiles made anew. */
  holdBack(wanted: boolean): void {
    this.isHeldBack = wanted;
    if (!wanted && this.queued.size) this.timer ||= setTimeout(() => void this.send(), PATCH_EVERY_MS);
  }

  /** One difference after the other: the map draws in between, however many changes are pushed. */
  private send(): Promise<void> {
    this.work = this.work.then(() => this.flush()).catch((error: unknown) => console.warn("map source", error));
    return this.work;
  }

  private async flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = 0;
    const diff: Required<Omit<GeoJSONSourceDiff, "removeAll">> = { remove: [], add: [], update: [] };
    for (const [id, feature] of this.queued) {
      const before = this.held.get(id);
      if (!feature) {
        if (before) diff.remove.push(id);
        this.held.delete(id);
        continue;
      }
      this.held.set(id, feature);
      if (!before) {
        diff.add.push(feature);
        continue;
      }
      const changed = Object.entries(feature.properties).filter(([key, value]) => before.properties[key] !== value);
      const [x, y] = feature.geometry.coordinates;
      const moved = x !== before.geometry.coordinates[0] || y !== before.geometry.coordinates[1];
      if (!changed.length && !moved) continue;
      diff.update.push({
        id,
        ...(moved ? { newGeometry: feature.geometry } : {}),
        addOrUpdateProperties: changed.map(([key, value]) => ({ key, value })),
      });
    }
    this.queued.clear();
    if (!diff.remove.length && !diff.add.length && !diff.update.length) return;
    await this.map.getSource<GeoJSONSource>(this.name)?.updateData(diff);
  }
}

// a free station lies over a busy one
const ORDER: Record<State, number> = { unknown: 0, planned: 1, broken: 2, blocked: 3, busy: 4, free: 5 };

const point = (id: string, lon: number, lat: number, properties: Record<string, unknown>): Feature => ({
  type: "Feature",
  geometry: { type: "Point", coordinates: [lon, lat] },
  properties: { id, ...properties },
});

const compact = (count: number): string =>
  count < 1000 ? String(count) : count < 10_000 ? `${(count / 1000).toFixed(1)}k` : `${Math.round(count / 1000)}k`;

const themedIcon = (colours: Theme): ExpressionSpecification => ["concat", `${colours}/`, ["get", "icon"]];

const sourceOf = (features: Feature[]): GeoJSONSourceSpecification => ({
  type: "geojson",
  data: { type: "FeatureCollection", features },
  promoteId: "id",
  // fewer and larger tiles: a move by a screen seldom needs one more. A place is right within 3 m.
  maxzoom: 10,
  buffer: 32,
  tolerance: 0,
});

const textColour = (colours: Theme): string => (colours === "dark" ? "#eaf2ec" : "#13201a");

function stationFeature(station: MapStation): Feature {
  return point(station.id, station.lon, station.lat, {
    kind: "station",
    icon: stationIcon(station.state, station.free),
    state: station.state,
    order: ORDER[station.state],
    fits: station.fits,
  });
}

function clusterFeature(cluster: MapCluster): Feature {
  // a station's id has no such prefix, so the two never meet in their source
  return point(`cluster ${cluster.key}`, cluster.lon, cluster.lat, {
    kind: "cluster",
    key: cluster.key,
    icon: clusterIcon(cluster.count, (state) => cluster[state]),
    label: compact(cluster.count),
    order: cluster.count,
  });
}

function carFeature(car: Vehicle): Feature {
  return point(car.id, car.lon, car.lat, { icon: "car", heading: car.heading ?? 0 });
}

function layersOf(colours: Theme): LayerSpecification[] {
  return [
    {
      id: "clusters",
      type: "symbol",
      source: "stations",
      filter: ["==", ["get", "kind"], "cluster"],
      layout: {
        "icon-image": themedIcon(colours),
        "icon-allow-overlap": true,
        "icon-ignore-placement": true,
        "text-field": ["get", "label"],
        "text-font": MAP_FONT_BOLD,
        "text-size": 12.5,
        "text-allow-overlap": true,
        "text-ignore-placement": true,
        "symbol-sort-key": ["get", "order"],
      },
      paint: { "text-color": textColour(colours) },
    },
    {
      id: "stations",
      type: "symbol",
      source: "stations",
      filter: ["==", ["get", "kind"], "station"],
      layout: {
        "icon-image": themedIcon(colours),
        "icon-allow-overlap": true,
        "icon-ignore-placement": true,
        "icon-size": ["interpolate", ["linear"], ["zoom"], 4, 0.5, 8, 0.72, 12, 1],
        "symbol-sort-key": ["get", "order"],
      },
      paint: { "icon-opacity": ["case", ["get", "fits"], 1, 0.5] },
    },
  ];
}

const featuresOf = (stations: Iterable<MapStation>, clusters: MapCluster[]): Feature[] => [
  ...clusters.map(clusterFeature),
  ...[...stations].map(stationFeature),
];

/** What a map is made with: stations that are known already need no second round of tiles. */
export function liveStyle(stations: Iterable<MapStation>, clusters: MapCluster[]): StyleParts {
  return { sources: { stations: sourceOf(featuresOf(stations, clusters)) }, layers: layersOf(theme()) };
}

export class Layers {
  private readonly stations: DiffSource;
  private cars: DiffSource | null = null;

  /** `stations` and `clusters` are those that the map was made with. */
  constructor(
    private readonly map: MapLibre,
    stations: Iterable<MapStation>,
    clusters: MapCluster[],
  ) {
    this.stations = new DiffSource(map, "stations", featuresOf(stations, clusters));
    map.setMissingStyleImageResolver((id) => {
      const drawn = draw(id);
      if (drawn && !map.hasImage(id)) map.addImage(id, drawn.image, { pixelRatio: drawn.ratio });
    });
    onTheme((next) => {
      for (const layer of ["cars", "clusters", "stations"]) {
        if (map.getLayer(layer)) map.setLayoutProperty(layer, "icon-image", themedIcon(next));
      }
      map.setPaintProperty("clusters", "text-color", textColour(next));
    });
  }

  async show(stations: Iterable<MapStation>, clusters: MapCluster[]): Promise<void> {
    await this.stations.set(featuresOf(stations, clusters));
  }

  /** Pushed changes wait until `holdBack(false)`. */
  holdBack(wanted: boolean): void {
    this.stations.holdBack(wanted);
  }

  patch(station: MapStation): void {
    this.stations.patch(station.id, stationFeature(station));
  }

  remove(id: string): void {
    this.stations.patch(id, null);
  }

  async showCars(cars: Vehicle[]): Promise<void> {
    if (!this.cars) {
      if (!cars.length) return;
      this.map.addSource("cars", sourceOf([]));
      this.map.addLayer(
        {
          id: "cars",
          type: "symbol",
          source: "cars",
          layout: {
            "icon-image": themedIcon(theme()),
            "icon-rotate": ["get", "heading"],
            "icon-rotation-alignment": "map",
            "icon-allow-overlap": true,
            "icon-ignore-placement": true,
            "icon-size": ["interpolate", ["linear"], ["zoom"], 4, 0.45, 10, 0.85],
          },
        },
        "clusters",
      );
      this.cars = new DiffSource(this.map, "cars");
    }
    await this.cars.set(cars.map(carFeature));
  }

  /** Moves a car that is shown. A new one comes with the next `showCars`, so that pushes cannot add cars without end. */
  moveCar(car: Vehicle): void {
    if (this.cars?.has(car.id)) this.cars.patch(car.id, car.ignition === false ? null : carFeature(car));
  }

  /** The station or group below a point of the screen, with room for a thumb. */
  hit(x: number, y: number, reach = 6): { layer: "stations" | "clusters"; id: string } | null {
    const box: [[number, number], [number, number]] = [
      [x - reach, y - reach],
      [x + reach, y + reach],
    ];
    const found = this.map.queryRenderedFeatures(box, { layers: ["stations", "clusters"] });
    const best = found.find((feature) => feature.layer.id === "stations") ?? found[0];
    if (!best) return null;
    return best.layer.id === "stations"
      ? { layer: "stations", id: String(best.properties.id) }
      : { layer: "clusters", id: String(best.properties.key) };
  }
}
