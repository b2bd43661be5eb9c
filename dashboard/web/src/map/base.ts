/** A map with the offline base map, in both themes. Every page that shows a map makes it here. */
import type { FilterSpecification, GeoJSONSource, LayerSpecification, Map as MapLibre, MapOptions, StyleSpecification } from "maplibre-gl";
import { configuration } from "../lib/api";
import { onTheme, reducedMotion, type Theme, theme } from "../lib/theme";

export type { MapLibre };

interface Palette {
  water: string;
  land: string;
  abroad: string;
  county: string;
  state: string;
  casing: string;
  freeway: string;
  stateName: string;
  cityName: string;
  halo: string;
}

const PALETTES: Record<Theme, Palette> = {
  light: {
    water: "#cfe0e2",
    land: "#f7f6f1",
    abroad: "#e9ebe4",
    county: "#e3e2da",
    state: "#c3c6bc",
    casing: "#ffffff",
    freeway: "#d8c9a3",
    stateName: "#8a9187",
    cityName: "#4d564f",
    halo: "#f7f6f1",
  },
  dark: {
    water: "#0a1114",
    land: "#16201c",
    abroad: "#111916",
    county: "#1d2924",
    state: "#33443c",
    casing: "#16201c",
    freeway: "#4a4c39",
    stateName: "#71837a",
    cityName: "#a9b8b0",
    halo: "#16201c",
  },
};

/** Drawn by the browser from the page's web font: there is no glyph server. */
export const MAP_FONT = ["Inter"];
export const MAP_FONT_BOLD = ["Inter Bold"];

/** The layer below which a page puts what names should stay readable over. */
export const BELOW_NAMES = "state-names";

/** Half a megabyte more, with counties and fine coasts: asked when somebody is near enough to see them. */
const DETAIL_FROM_ZOOM = 5.5;
const KINDS = ["==", ["get", "kind"]] as const;

function baseLayers(colours: Palette): LayerSpecification[] {
  const source = "base";
  const of = (kind: string) => [...KINDS, kind] as unknown as FilterSpecification;
  return [
    { id: "water", type: "background", paint: { "background-color": colours.water } },
    {
      id: "land",
      type: "fill",
      source,
      filter: ["in", ["get", "kind"], ["literal", ["us", "abroad"]]],
      paint: {
        "fill-color": ["match", ["get", "kind"], "us", colours.land, colours.abroad],
        "fill-antialias": false,
      },
    },
    {
      id: "counties",
      type: "line",
      source,
      filter: of("county"),
      minzoom: 6.2,
      paint: { "line-color": colours.county, "line-width": 1 },
    },
    {
      id: "states",
      type: "line",
      source,
      filter: of("state"),
      paint: { "line-color": colours.state, "line-width": ["interpolate", ["linear"], ["zoom"], 3, 0.6, 8, 1.4] },
    },
    {
      id: "freeways",
      type: "line",
      source,
      filter: of("freeway"),
      layout: { "line-cap": "round", "line-join": "round" },
      paint: {
        "line-color": colours.freeway,
        "line-width": ["interpolate", ["linear"], ["zoom"], 3, 0.5, 6, 1.2, 10, 2.4, 14, 4],
        "line-opacity": ["interpolate", ["linear"], ["zoom"], 3, 0.5, 6, 1],
      },
    },
    {
      id: BELOW_NAMES,
      type: "symbol",
      source,
      filter: of("state-name"),
      minzoom: 3.2,
      maxzoom: 7,
      layout: {
        "text-field": ["upcase", ["get", "name"]],
        "text-font": MAP_FONT,
        "text-size": ["interpolate", ["linear"], ["zoom"], 3, 8.5, 6, 12],
        "text-letter-spacing": 0.16,
        "text-max-width": 7,
      },
      paint: { "text-color": colours.stateName, "text-halo-color": colours.halo, "text-halo-width": 1.2 },
    },
    {
      id: "city-names",
      type: "symbol",
      source,
      minzoom: 4.5,
      filter: [
        "all",
        [...KINDS, "city-name"],
        ["<", ["get", "rank"], ["step", ["zoom"], 25, 5.5, 70, 6.5, 160, 7.5, 420]],
      ] as unknown as FilterSpecification,
      layout: {
        "text-field": ["get", "name"],
        "text-font": MAP_FONT,
        "text-size": ["interpolate", ["linear"], ["zoom"], 4, 11, 9, 14],
        "symbol-sort-key": ["get", "rank"],
        "text-padding": 6,
        "text-max-width": 8,
      },
      paint: { "text-color": colours.cityName, "text-halo-color": colours.halo, "text-halo-width": 1.4 },
    },
  ];
}

/** The first picture comes from the small file; the large one follows when the map is at rest and near. */
function addDetailWhenNear(map: MapLibre): void {
  const add = () => {
    if (map.getZoom() < DETAIL_FROM_ZOOM) return;
    map.off("idle", add);
    void map.getSource<GeoJSONSource>("base")?.setData("/static/base/detail.json");
  };
  map.on("idle", add);
}

const SOURCES = "Freeways: US DOT, by scgraph (MIT) · Borders: US Census, Natural Earth";

function offlineStyle(tileUrl: string): StyleSpecification {
  const style: StyleSpecification = {
    version: 8,
    // one source, so that a tile of it brings everything at once
    sources: { base: { type: "geojson", data: "/static/base/low.json", maxzoom: 10, tolerance: 0.5, attribution: SOURCES } },
    layers: baseLayers(PALETTES[theme()]),
  };
  if (tileUrl) {
    // the setting says whose tiles they are; borders and names stay over them
    style.sources.tiles = { type: "raster", tiles: [tileUrl], tileSize: 256, attribution: new URL(tileUrl, location.href).host };
    style.layers.splice(2, 0, { id: "tiles", type: "raster", source: "tiles" });
  }
  return style;
}

/** Whether the browser draws WebGL at all; MapLibre needs version 2. */
export function hasWebGL(): boolean {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

/** What a page draws over the base map. */
export interface StyleParts {
  sources: StyleSpecification["sources"];
  layers: LayerSpecification[];
}

export interface BaseMapOptions extends Partial<Omit<MapOptions, "container" | "style">> {
  label: string;
  /** Known before the map is made, it is drawn with the first picture. */
  parts?: StyleParts;
}

const FIRST_PICTURES_EVERY_MS = 150;

/** Each tile that arrives asks for a new picture, and a browser without a graphics card draws one in 0.1 s. Until the first
 * tiles are all there, some pictures are enough. */
function drawSparingly(map: MapLibre): void {
  const draw = map.triggerRepaint.bind(map);
  let last = -Infinity;
  let timer = 0;
  map.triggerRepaint = () => {
    timer ||= setTimeout(
      () => {
        timer = 0;
        draw();
      },
      Math.max(0, last + FIRST_PICTURES_EVERY_MS - performance.now()),
    );
  };
  const drawn = () => (last = performance.now());
  map.on("render", drawn);
  map.once("load", () => {
    map.off("render", drawn);
    map.triggerRepaint = draw;
  });
}

const withParts = (style: StyleSpecification, parts: StyleParts | undefined): StyleSpecification =>
  parts ? { ...style, sources: { ...style.sources, ...parts.sources }, layers: [...style.layers, ...parts.layers] } : style;

/** Makes a map in `container`. Its sources may be added once `styled` has come; null where the browser has no WebGL. */
export async function createMap(
  container: HTMLElement,
  { label, parts, ...options }: BaseMapOptions,
): Promise<{ map: MapLibre; styled: Promise<void> } | null> {
  if (!hasWebGL()) return null;
  const [engine, { tile_url: tileUrl }] = await Promise.all([import("./engine"), configuration()]);
  const ownTiles = tileUrl !== "" && !/\{[xyz]\}/.test(tileUrl);
  const style = ownTiles ? tileUrl : withParts(offlineStyle(tileUrl), parts);
  let map: MapLibre;
  try {
    map = new engine.Map({
      container,
      style,
      center: [-98, 39],
      zoom: 3.6,
      minZoom: 2,
      maxZoom: 18,
      maxPitch: 0,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      attributionControl: false,
      fadeDuration: 0,
      renderWorldCopies: false,
      ...options,
    });
  } catch (error) {
    // a context that was promised and then refused, as by a blocked driver
    console.warn("no map", error);
    return null;
  }
  drawSparingly(map);
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new engine.AttributionControl({ compact: true }), "bottom-right");
  map.addControl(new engine.NavigationControl({ showCompass: false }), "top-right");
  const canvas = map.getCanvas();
  canvas.setAttribute("aria-label", label);
  canvas.setAttribute("role", "application");
  // a compact attribution begins open: close it, so that it does not cover a phone's map
  map.once("load", () => container.querySelector(".maplibregl-ctrl-attrib")?.classList.remove("maplibregl-compact-show"));
  onTheme((next) => {
    for (const layer of baseLayers(PALETTES[next])) {
      if (!map.getLayer(layer.id)) continue;
      for (const [name, value] of Object.entries(layer.paint ?? {})) {
        map.setPaintProperty(layer.id, name as never, value as never);
      }
    }
  });
  if (!ownTiles) addDetailWhenNear(map);
  const styled = new Promise<void>((resolve) => {
    map.once("style.load", () => {
      if (ownTiles && parts) {
        for (const [name, source] of Object.entries(parts.sources)) map.addSource(name, source);
        for (const layer of parts.layers) map.addLayer(layer);
      }
      resolve();
    });
  });
  return { map, styled };
}

/** Moves the map, at once where the reader wants no motion. `offset` (pixels) puts the centre elsewhere than in the middle. */
export function moveTo(map: MapLibre, center: [number, number], zoom?: number, offset: [number, number] = [0, 0]): void {
  map.easeTo({ center, ...(zoom === undefined ? {} : { zoom }), offset, duration: reducedMotion() ? 0 : 450 });
}
