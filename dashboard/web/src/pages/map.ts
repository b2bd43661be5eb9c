/** The map of all stations, and the list that says the same. */
import type { Marker } from "maplibre-gl";
import { areaName, loadAreas } from "../map/areas";
import { createMap, type MapLibre, moveTo } from "../map/base";
import { filterPanel } from "../map/filter_panel";
import { countOf, favourites, filterParams, filtersOf, setFavourite } from "../map/filters";
import { type Box, boxAround, boxParams, distanceKm, fitting, holds, type Place as Point } from "../map/geometry";
import { Layers, liveStyle } from "../map/layers";
import { mark, STATE_MEANING, STATE_WORDS } from "../map/marks";
import { clusterRow, fillCard, fillRow, type RowContext, title } from "../map/rows";
import { searchBox } from "../map/search";
import { isPhone, sheet } from "../map/sheet";
import { type View, ViewData } from "../map/view_data";
import { isWatched, onWatches, seen, toggleWatch, watches } from "../map/watch";
import { asMapStation, type StationAnswer } from "../station/answers";
import {
  announce, banner, configuration, fill, get, h, icon, type MapStation, number, onUnits, type Place, plural, query, remember,
  remembered, setText, type Shell, type State, STATES, type Vehicle,
} from "../shell";

declare global {
  interface Window {
    /** For tests and measurements. */
    evcharge?: { map: MapLibre | null };
  }
}

const ROWS = 50;
const US: Box = { west: -125, south: 24.5, east: -66.5, north: 49.5 };
const LOCATE = "M12 8.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7Zm0-6v3m0 13v3m9.500-9.500h-3m-13 0h-3";
const CARS_EVERY_MS = 15_000;
const MOST_CARS = 400;
const LONGEST_DRAWING_MS = 2_000;

interface Camera {
  center: Point;
  zoom: number;
}

function cameraOf(search: URLSearchParams): Camera | null {
  const [lat, lon, zoom] = (search.get("at") ?? "").split(",").map(Number);
  if (lat === undefined || lon === undefined || zoom === undefined || ![lat, lon, zoom].every(Number.isFinite)) return null;
  if (Math.abs(lat) > 85 || Math.abs(lon) > 180 || zoom < 0 || zoom > 20) return null;
  return { center: { lat, lon }, zoom };
}

export async function start(main: HTMLElement, shell: Shell): Promise<void> {
  const search = new URLSearchParams(location.search);
  let filters = filtersOf(search);
  let starred = favourites();
  let selected: string | null = null;
  let me: Point | null = null;
  let shownRows = ROWS;
  let sort = remembered<string>("sort", "near");
  let showsCars = search.get("cars") === "true";
  let map: MapLibre | null = null;
  let layers: Layers | null = null;
  let ring: Marker | null = null;
  let meMarker: Marker | null = null;
  let engine: typeof import("../map/engine") | null = null;
  let sequence = 0;
  const rows = new Map<string, HTMLElement>();

  // ---- what the page is made of
  const mapHost = h("div", { class: "map", id: "map" });
  const banners = h("div", { class: "banners" });
  const card = h("section", { class: "card station-card", id: "card", "aria-label": "Selected station" });
  card.hidden = true;
  const legend = h("ul", { class: "legend", id: "legend", "aria-label": "Stations in view by state" });
  const count = h("h1", { class: "list-count", id: "count", "aria-live": "polite" }, "Looking for stations");
  const list = h("ul", { class: "stations", id: "stations", "aria-label": "Stations in view" });
  list.append(...Array.from({ length: 4 }, () => h("li", { class: "skeleton", "aria-hidden": "true" })));
  const more = h("button", { type: "button", class: "button more", onclick: () => showMore() }, "Show more");
  more.hidden = true;
  const sortBox = h(
    "select",
    { id: "sort", class: "input sort-box", "aria-label": "Order of the list", value: sort, onchange: () => { sort = sortBox.value; remember("sort", sort); drawList(); } },
    h("option", { value: "near" }, "Nearest first"),
    h("option", { value: "free" }, "Free first"),
    h("option", { value: "power" }, "Most power first"),
  );
  const box = searchBox({
    id: "search",
    label: "Search for a place, ZIP code or station id",
    placeholder: "City, ZIP or station id",
    choose: (place) => goTo(place),
  });
  const locate = h("button", { type: "button", class: "button icon-only", id: "locate", "aria-label": "Use my location", title: "Use my location", onclick: () => useMyLocation() }, icon(LOCATE));
  const panelFilters = filterPanel((next) => {
    filters = next;
    data.filter(filters);
    saveUrl();
  }, configuration().then((known) => known.likely_free_available), () => isPhone() && slide.show("peek"));
  panelFilters.set(filters);
  const cars = h("label", { class: "check cars-toggle" }, h("input", { type: "checkbox", id: "show-cars", checked: showsCars, onchange: (event: Event) => {
    showsCars = (event.target as HTMLInputElement).checked;
    saveUrl();
    void askCars();
  } }), "Cars on their way");
  const handleHost = h("div", { class: "sheet-top" });
  const panel = h(
    "div",
    { class: "list-panel", id: "panel" },
    handleHost,
    h(
      "div",
      { class: "panel-scroll" },
      banners,
      h("div", { class: "list-head" }, count, sortBox),
      legend,
      card,
      list,
      more,
    ),
  );
  const top = h("div", { class: "panel-top" }, h("div", { class: "search-row" }, box.element, locate, panelFilters.button), panelFilters.element);
  main.append(h("div", { class: "finder" }, top, panel), h("div", { class: "map-side" }, mapHost, cars));
  const slide = sheet(panel);
  handleHost.append(slide.handle);

  // ---- where the reader looks
  const size = (): [number, number] => [mapHost.clientWidth || innerWidth, mapHost.clientHeight || innerHeight];
  const remembers = cameraOf(search) ?? validCamera(remembered<unknown>("camera", null));
  let camera: Camera = remembers ?? fitting(US, ...size(), isPhone() ? 4 : 20);

  function view(): View {
    if (map) {
      const bounds = map.getBounds();
      return {
        zoom: map.getZoom(),
        box: {
          west: Math.max(-180, bounds.getWest()),
          east: Math.min(180, bounds.getEast()),
          south: Math.max(-85, bounds.getSouth()),
          north: Math.min(85, bounds.getNorth()),
        },
      };
    }
    return { box: boxAround(camera.center, camera.zoom, ...size()), zoom: camera.zoom };
  }

  function saveUrl(): void {
    const { center, zoom } = camera;
    const params = { ...filterParams(filters), cars: showsCars, at: `${center.lat.toFixed(4)},${center.lon.toFixed(4)},${zoom.toFixed(2)}` };
    // commas read better than %2C, and mean the same
    history.replaceState(null, "", query(params).replaceAll("%2C", ",") || "/");
    remember("camera", camera);
  }

  // ---- the data
  const shownState = (station: MapStation): MapStation =>
    data.isTooOld && station.state !== "planned" ? { ...station, state: "unknown", free: 0 } : station;

  const data = new ViewData({
    answered: (answer) => {
      panelFilters.suggestNetworks(answer.stations.flatMap((station) => (station.network ? [station.network] : [])));
      void draw();
      drawList();
      drawCard();
    },
    changed: (station, gone) => {
      if (gone) layers?.remove(station.id);
      else layers?.patch(shownState(station));
      const row = rows.get(station.id);
      if (row) {
        if (gone) {
          // the element with the focus stays until the list is drawn anew
          if (row.contains(document.activeElement)) row.classList.add("row-gone");
          else {
            row.remove();
            rows.delete(station.id);
          }
        } else fillRow(row, shownState(station), contextOf(station));
      } else if (!gone) drawListSoon();
      if (station.id === selected) drawCard();
      countSoon();
    },
    vehicle: (vehicle: Vehicle) => {
      if (showsCars) layers?.moveCar(vehicle);
    },
    fresh: shell.setFresh,
    connected: shell.setConnected,
    trouble: (key, text) => {
      banner(banners, key, text);
      if (key !== "stations" || !text || data.answer) return;
      setText(count, "No stations to show yet");
      fill(list, h("li", { class: "list-empty" }, text));
    },
  });
  data.setFavourites(starred);
  data.filter(filters);
  // what got free while no page was open
  for (const watch of watches().slice(0, 10)) {
    void get<StationAnswer>(`/stations/${encodeURIComponent(watch.id)}`).then((answer) => void seen(asMapStation(answer)), () => undefined);
  }

  function contextOf(station: MapStation): RowContext {
    return {
      isFavourite: starred.has(station.id),
      isSelected: station.id === selected,
      isWatched: isWatched(station.id),
      km: distanceKm(me ?? camera.center, station),
      isFromHere: me !== null,
      likelyInMin: filters.likelyFreeInMin,
    };
  }

  const actions = {
    select: (id: string) => select(id === selected ? null : id, "list"),
    favourite: (id: string) => {
      const wanted = !starred.has(id);
      starred = setFavourite(id, wanted);
      data.setFavourites(starred);
      refill(id);
      announce(wanted ? "Added to your favourites" : "Removed from your favourites");
    },
    watch: (id: string) => {
      const station = data.stations.get(id);
      if (station) void toggleWatch(station, filters);
    },
    close: () => {
      const last = selected;
      select(null, "list");
      if (last) rows.get(last)?.querySelector<HTMLElement>(".station-pick")?.focus();
    },
  };
  const act = (event: Event): void => {
    const part = (event.target as Element).closest<HTMLElement>("[data-part]")?.dataset.part;
    const id = (event.target as Element).closest<HTMLElement>("[data-station-id]")?.dataset.stationId;
    if (!id) return;
    if (part === "pick") actions.select(id);
    else if (part === "favourite") actions.favourite(id);
    else if (part === "watch") actions.watch(id);
    else if (part === "close") actions.close();
  };
  list.addEventListener("click", act);
  card.addEventListener("click", act);
  onWatches(() => {
    data.resubscribe();
    for (const [id, row] of rows) {
      const station = data.stations.get(id);
      if (station) fillRow(row, shownState(station), contextOf(station));
    }
    drawCard();
  });
  onUnits(() => {
    drawList();
    drawCard();
  });

  function refill(id: string): void {
    const station = data.stations.get(id);
    const row = rows.get(id);
    if (station && row) fillRow(row, shownState(station), contextOf(station));
    drawCard();
  }

  // ---- drawing
  async function draw(): Promise<void> {
    if (!layers || !map) return;
    const number = ++sequence;
    const mine = map;
    const over = layers;
    over.holdBack(true);
    // a tile that never comes must not keep changes back
    setTimeout(() => number === sequence && over.holdBack(false), LONGEST_DRAWING_MS);
    await layers.show([...data.stations.values()].map(shownState), data.clusters);
    const done = () => {
      if (number !== sequence) {
        mine.off("render", done);
        return;
      }
      if (!mine.isSourceLoaded("stations")) return;
      mine.off("render", done);
      over.holdBack(false);
      performance.mark("view-rendered");
      document.documentElement.dataset.view = String(number);
      if (document.documentElement.dataset.ready !== "map") {
        document.documentElement.dataset.ready = "map";
        performance.mark("map-ready");
      }
    };
    mine.on("render", done);
    mine.triggerRepaint();
  }

  let listTimer = 0;
  const drawListSoon = () => {
    listTimer ||= setTimeout(() => drawList(), 400);
  };
  let countTimer = 0;
  const countSoon = () => {
    countTimer ||= setTimeout(() => drawCounts(), 300);
  };

  const inView = (): MapStation[] => {
    const { box: now } = view();
    return [...data.stations.values()].filter((station) => holds(now, station)).map(shownState);
  };

  function drawCounts(): void {
    clearTimeout(countTimer);
    countTimer = 0;
    if (!data.answer) return;
    const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
    const groups = data.answer.mode === "clusters";
    if (groups) {
      const { box: now } = view();
      for (const cluster of data.clusters) if (holds(now, cluster)) for (const state of STATES) counts[state] += cluster[state];
    } else for (const station of inView()) if (station.fits) counts[station.state] += 1;
    const total = STATES.reduce((sum, state) => sum + counts[state], 0);
    setText(count, total || countOf(filters) === 0 ? `${plural(total, "station")} in view` : "No station in view fits the filters");
    fill(
      legend,
      ...STATES.map((state) =>
        h(
          "li",
          { "data-state": state, title: `${STATE_WORDS[state]}: ${STATE_MEANING[state]}` },
          mark(state),
          h("span", { class: "figure" }, number(counts[state])),
          h("span", { class: "legend-word" }, STATE_WORDS[state]),
        ),
      ),
    );
  }

  function sorted(stations: MapStation[]): MapStation[] {
    const from = me ?? camera.center;
    const near = new Map(stations.map((station) => [station.id, distanceKm(from, station)]));
    const order = (a: MapStation, b: MapStation) => (near.get(a.id) ?? 0) - (near.get(b.id) ?? 0);
    if (sort === "free") return stations.sort((a, b) => Number(b.state === "free") - Number(a.state === "free") || order(a, b));
    if (sort === "power") return stations.sort((a, b) => (b.power_kw ?? -1) - (a.power_kw ?? -1) || order(a, b));
    return stations.sort(order);
  }

  function drawList(): void {
    clearTimeout(listTimer);
    listTimer = 0;
    if (!data.answer) return;
    drawCounts();
    const groups = data.answer.mode === "clusters";
    sortBox.hidden = groups;
    const stations = sorted(groups ? [...data.stations.values()].map(shownState) : inView());
    const shown = stations.slice(0, shownRows);
    const kept = new Set(shown.map((station) => station.id));
    for (const [id, row] of rows) {
      if (!kept.has(id)) {
        row.remove();
        rows.delete(id);
      }
    }
    const elements: HTMLElement[] = shown.map((station) => {
      const row = rows.get(station.id) ?? h("li", { class: "station-row" });
      rows.set(station.id, row);
      fillRow(row, station, contextOf(station));
      return row;
    });
    if (groups) {
      const { box: now } = view();
      const largest = data.clusters.filter((cluster) => holds(now, cluster)).sort((a, b) => b.count - a.count).slice(0, 60);
      elements.push(
        ...largest.map((cluster) =>
          clusterRow(cluster, areaName(cluster.lat, cluster.lon), () => zoomTo({ lat: cluster.lat, lon: cluster.lon }, view().zoom + 2)),
        ),
      );
    }
    // moving an element takes its focus away: only what differs is moved
    elements.forEach((element, index) => {
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    });
    while (list.children.length > elements.length) list.lastElementChild?.remove();
    if (!elements.length) {
      list.append(h("li", { class: "list-empty" }, countOf(filters) ? "Nothing fits the filters here. Loosen them, or move the map." : "No stations here. Move the map, or search for a place."));
    }
    more.hidden = stations.length <= shown.length;
    setText(more, `Show ${Math.min(ROWS, stations.length - shown.length)} more of ${number(stations.length)}`);
    document.documentElement.dataset.list = String(stations.length);
    if (!performance.getEntriesByName("list-ready").length) performance.mark("list-ready");
  }

  function showMore(): void {
    const first = shownRows;
    shownRows += ROWS;
    drawList();
    list.children[first]?.querySelector<HTMLElement>("button")?.focus();
  }

  let cardStation: MapStation | null = null;
  function drawCard(): void {
    const known = selected ? data.stations.get(selected) : undefined;
    if (known) cardStation = shownState(known);
    card.hidden = !selected || !cardStation;
    if (selected && cardStation) fillCard(card, cardStation, contextOf(cardStation));
  }

  function select(id: string | null, by: "list" | "map"): void {
    const before = selected;
    selected = id;
    cardStation = null;
    if (before) refill(before);
    if (id) refill(id);
    drawCard();
    const station = id ? data.stations.get(id) : undefined;
    ring?.remove();
    ring = null;
    if (station && map && engine) {
      ring = new engine.Marker({ element: h("div", { class: "ring", "aria-hidden": "true" }) }).setLngLat([station.lon, station.lat]).addTo(map);
      if (isPhone()) {
        if (slide.position() === "peek") slide.show("half");
        // the sheet covers the lower half: the station moves above it
        moveTo(map, [station.lon, station.lat], undefined, [0, -0.2 * mapHost.clientHeight]);
      } else if (by === "list" && !holds(view().box, station)) moveTo(map, [station.lon, station.lat]);
    }
    if (!station) return;
    panel.querySelector(".panel-scroll")?.scrollTo({ top: 0 });
    announce(`${title(station)}: ${STATE_WORDS[shownState(station).state]}`);
    // the keyboard goes on in the card, a finger does not care
    card.querySelector<HTMLElement>('[data-part="name"]')?.focus({ preventScroll: true });
  }

  // ---- moving
  function zoomTo(center: Point, zoom: number): void {
    const target = Math.min(16, zoom);
    if (map) {
      moveTo(map, [center.lon, center.lat], target);
      return;
    }
    camera = { center, zoom: target };
    saveUrl();
    data.look(view());
  }

  function goTo(place: Place): void {
    const id = place.station_id;
    zoomTo(place, place.kind === "place" ? 10.5 : place.kind === "station" ? 13.5 : 12);
    announce(`The map shows ${place.name}`);
    if (place.kind === "station" && id) {
      const wait = setInterval(() => {
        if (!data.stations.has(id)) return;
        clearInterval(wait);
        select(id, "map");
      }, 150);
      setTimeout(() => clearInterval(wait), 5000);
    }
  }

  function useMyLocation(): void {
    const refused = (why: string) => {
      box.say(`${why} Type a city or a ZIP code instead.`);
      box.input.focus();
    };
    if (!("geolocation" in navigator)) {
      refused("This browser does not tell where you are.");
      return;
    }
    locate.setAttribute("aria-busy", "true");
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        locate.removeAttribute("aria-busy");
        box.say("");
        me = { lat: coords.latitude, lon: coords.longitude };
        if (map && engine) {
          meMarker?.remove();
          meMarker = new engine.Marker({ element: h("div", { class: "me", title: "You are here" }) }).setLngLat([me.lon, me.lat]).addTo(map);
        }
        zoomTo(me, 12);
        drawList();
      },
      (error) => {
        locate.removeAttribute("aria-busy");
        refused(error.code === error.PERMISSION_DENIED ? "Your location is not shared." : "Your location is not known.");
      },
      { timeout: 10_000, maximumAge: 60_000 },
    );
  }

  // ---- cars
  let carsTimer = 0;
  async function askCars(): Promise<void> {
    clearTimeout(carsTimer);
    if (!layers) return;
    if (!showsCars) {
      await layers.showCars([]);
      return;
    }
    try {
      const answer = await get<{ vehicles: Vehicle[] }>("/vehicles", { ...boxParams(view().box), limit: MOST_CARS });
      // those that stand in a garage are not on their way
      if (showsCars) await layers.showCars(answer.vehicles.filter((car) => car.ignition !== false));
      banner(banners, "cars", "");
    } catch (error) {
      banner(banners, "cars", `Cars are not shown: ${error instanceof Error ? error.message : "no answer"}.`);
    }
    carsTimer = setTimeout(() => void askCars(), CARS_EVERY_MS);
  }

  // ---- begin: the first question travels while the map's script loads
  const firstAnswer = new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (!data.answer) return;
      clearInterval(look);
      resolve();
    }, 20);
    setTimeout(resolve, 1500);
  });
  data.look(view());
  void loadAreas().then(() => data.answer?.mode === "clusters" && drawList());
  const [loadedEngine] = await Promise.all([
    import("../map/engine").catch(() => null),
    // the map is made with its stations: they would cost a second round of tiles
    firstAnswer,
  ]);
  engine = loadedEngine;
  if (!remembers && data.answer?.mode === "stations" && data.stations.size) {
    camera = fitting(boxOf([...data.stations.values()]), ...size(), 50);
  }
  const firstStations = [...data.stations.values()];
  const firstClusters = data.clusters;
  const made = engine
    ? await createMap(mapHost, {
        label: "Map of the stations. The list says the same.",
        center: [camera.center.lon, camera.center.lat],
        zoom: camera.zoom,
        parts: liveStyle(firstStations, firstClusters),
      })
    : null;
  window.evcharge = { map: made?.map ?? null };
  if (!made) {
    main.classList.add("no-map");
    banner(banners, "map", "This browser draws no map (WebGL 2 is off). The list works all the same: search for a place to move it.");
    document.documentElement.dataset.ready = "list";
    data.look(view());
    return;
  }
  const drawn = made.map;
  map = drawn;
  const seeView = () => {
    const center = drawn.getCenter();
    camera = { center: { lat: center.lat, lon: center.lng }, zoom: drawn.getZoom() };
    data.look(view());
  };
  let moving = 0;
  drawn.on("move", () => {
    moving ||= setTimeout(() => {
      moving = 0;
      seeView();
    }, 100);
  });
  drawn.on("moveend", () => {
    clearTimeout(moving);
    moving = 0;
    shownRows = ROWS;
    seeView();
    saveUrl();
    drawListSoon();
    if (showsCars) void askCars();
  });
  drawn.on("click", (event) => {
    const hit = layers?.hit(event.point.x, event.point.y, isPhone() ? 12 : 6);
    if (!hit) {
      if (selected) select(null, "map");
      return;
    }
    if (hit.layer === "stations") {
      select(hit.id, "map");
      return;
    }
    const cluster = data.clusters.find((one) => one.key === hit.id);
    if (cluster) zoomTo({ lat: cluster.lat, lon: cluster.lon }, drawn.getZoom() + 2);
  });
  for (const layer of ["stations", "clusters"]) {
    drawn.on("mouseenter", layer, () => (drawn.getCanvas().style.cursor = "pointer"));
    drawn.on("mouseleave", layer, () => (drawn.getCanvas().style.cursor = ""));
  }
  layers = new Layers(drawn, firstStations, firstClusters);
  await made.styled;
  performance.mark("layers-added");
  await draw();
  if (showsCars) void askCars();
}

function validCamera(saved: unknown): Camera | null {
  const one = saved as Camera | null;
  const numbers = [one?.center?.lat, one?.center?.lon, one?.zoom];
  return one && numbers.every((value) => typeof value === "number" && Number.isFinite(value)) ? one : null;
}

function boxOf(places: Point[]): Box {
  const box = { west: 180, east: -180, south: 90, north: -90 };
  for (const { lat, lon } of places) {
    box.west = Math.min(box.west, lon);
    box.east = Math.max(box.east, lon);
    box.south = Math.min(box.south, lat);
    box.north = Math.max(box.north, lat);
  }
  return box;
}
