/** Stations and groups of stations as rows of the list, and the card of the selected one. */
import { h, svg } from "../lib/dom";
import { age, connector, number, percent, plural, power } from "../lib/format";
import { morph } from "../lib/morph";
import type { MapCluster, MapStation } from "../lib/types";
import { STATES } from "../lib/types";
import { distance } from "../lib/units";
import { mark, STATE_MEANING, STATE_WORDS } from "./marks";

export const title = (station: MapStation): string => station.name || station.id;

/** "2 of 4 free", or why that is not known. */
export function outletWords(station: MapStation): string {
  if (station.state === "planned") return "Planned, not open yet";
  if (station.state === "unknown") {
    return station.total ? `${plural(station.total, "outlet")}, state unknown` : "State unknown";
  }
  if (station.state === "broken") return station.total ? `Out of order · ${plural(station.total, "outlet")}` : "Out of order";
  if (station.state === "blocked") return `${station.free} of ${station.total} free · blocked by cars that are done`;
  return `${station.free} of ${station.total} free`;
}

const STAR = "m12 3.200 2.700 5.600 6.100.8-4.500 4.300 1.100 6.100L12 17.100 6.600 20l1.100-6.100L3.200 9.600l6.100-.8Z";

export function star(isFavourite: boolean): SVGSVGElement {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: `icon star${isFavourite ? " star-on" : ""}`, "aria-hidden": "true" },
    svg("path", { d: STAR }),
  );
}

/** What the page knows beside the station itself. */
export interface RowContext {
  isFavourite: boolean;
  isSelected: boolean;
  isWatched: boolean;
  /** From the reader, where the location is known, else from the middle of the map. */
  km: number;
  isFromHere: boolean;
  likelyInMin: number | null;
}

function chips(station: MapStation, context: RowContext): HTMLElement[] {
  const found: HTMLElement[] = [];
  if (!station.fits) found.push(h("span", { class: "chip" }, "Favourite · outside the filter"));
  if (station.queue_length) found.push(h("span", { class: "chip", "data-state": "busy" }, `${station.queue_length} waiting`));
  if (station.likely_free !== null && station.likely_free !== undefined && context.likelyInMin !== null) {
    found.push(h("span", { class: "chip" }, `${percent(station.likely_free)} free in ${context.likelyInMin} min`));
  }
  if (context.isWatched) found.push(h("span", { class: "chip" }, "You will be told"));
  return found;
}

function facts(station: MapStation): string {
  return [
    station.connectors.map((type) => connector(type)).join(", "),
    station.power_kw === null ? "" : power(station.power_kw),
    station.network ?? "",
  ]
    .filter(Boolean)
    .join(" · ");
}

function heard(station: MapStation): HTMLElement {
  return station.last_event_at ? age(station.last_event_at, "heard ") : h("span", {}, "never heard");
}

/** Brings `row` up to date. What can stay stays: a push between a finger's down and up must not lose the click. */
export function fillRow(row: HTMLElement, station: MapStation, context: RowContext): void {
  const name = title(station);
  const fresh = h(
    "li",
    {
      class: `station-row${context.isSelected ? " row-selected" : ""}`,
      "data-station-id": station.id,
      "data-state": station.state,
      "data-fits": String(station.fits),
    },
    h(
      "button",
      { type: "button", class: "station-pick", "data-part": "pick", "aria-pressed": String(context.isSelected) },
      mark(station.state),
      h(
        "span",
        { class: "station-words" },
        h("span", { class: "station-name" }, name),
        h("span", { class: "station-state" }, outletWords(station)),
        h("span", { class: "station-facts" }, facts(station)),
        h("span", { class: "station-chips" }, ...chips(station, context)),
      ),
      h("span", { class: "station-side" }, h("span", { class: "station-km", title: context.isFromHere ? "from you, as the crow flies" : "from the middle of the map" }, distance(context.km)), heard(station)),
    ),
    h(
      "button",
      {
        type: "button",
        class: "icon-button star-button",
        "data-part": "favourite",
        "aria-pressed": String(context.isFavourite),
        "aria-label": `Favourite: ${name}`,
        title: "Favourite",
      },
      star(context.isFavourite),
    ),
  );
  morph(row, fresh);
}

export function clusterRow(cluster: MapCluster, name: string, zoomIn: () => void): HTMLElement {
  const parts = STATES.filter((state) => cluster[state]);
  return h(
    "li",
    { class: "station-row cluster-row", "data-cluster": cluster.key },
    h(
      "button",
      { type: "button", class: "station-pick", onclick: zoomIn },
      h("span", { class: "cluster-count figure" }, number(cluster.count)),
      h(
        "span",
        { class: "station-words" },
        h("span", { class: "station-name" }, name),
        h("span", { class: "station-facts" }, parts.map((state) => `${number(cluster[state])} ${STATE_WORDS[state].toLowerCase()}`).join(" · ")),
        h(
          "span",
          { class: "share-bar", "aria-hidden": "true" },
          ...parts.map((state) => h("span", { "data-state": state, style: `flex-grow:${cluster[state]}` })),
        ),
      ),
    ),
  );
}

/** Brings the card of the selected station up to date. Its buttons say in `data-part` what they do. */
export function fillCard(card: HTMLElement, station: MapStation, context: RowContext): void {
  const name = title(station);
  const href = `/stations/${encodeURIComponent(station.id)}`;
  const canWait = station.state === "busy" || station.state === "blocked" || station.state === "unknown";
  const button = (part: string, pressed: boolean, ...content: (string | SVGElement)[]) =>
    h("button", { type: "button", class: "button button-small", "data-part": part, "data-key": part, "aria-pressed": String(pressed) }, ...content);
  const fresh = h(
    "section",
    { class: card.className, id: card.id, "aria-label": "Selected station", "data-station-id": station.id, "data-state": station.state },
    h(
      "div",
      { class: "card-head" },
      mark(station.state),
      h(
        "div",
        { class: "card-title" },
        h("h2", {}, h("a", { href, "data-part": "name" }, name)),
        h("p", { class: "muted small" }, [station.city, station.state_code].filter(Boolean).join(", "), context.isFromHere ? ` · ${distance(context.km)} away` : ""),
      ),
      h("button", { type: "button", class: "icon-button", "data-part": "close", "aria-label": "Close the card" }, "×"),
    ),
    h(
      "p",
      { class: "card-state" },
      h("strong", {}, STATE_WORDS[station.state]),
      h("span", {}, ` ${station.state === "free" ? outletWords(station) : STATE_MEANING[station.state]}`),
    ),
    station.remark ? h("p", { class: "small", "data-key": "remark" }, station.remark) : null,
    h("p", { class: "small muted", "data-key": "facts" }, facts(station)),
    h("div", { class: "row small", "data-key": "chips" }, ...chips(station, context), h("span", { class: "muted", "data-key": "heard" }, heard(station))),
    h(
      "div",
      { class: "row card-actions", "data-key": "actions" },
      h("a", { class: "button button-small button-primary", href, "data-part": "open", "data-key": "open" }, "Details and forecast"),
      h("a", { class: "button button-small", href: `/trip?to=${station.lat.toFixed(5)},${station.lon.toFixed(5)}`, "data-part": "trip", "data-key": "trip" }, "Plan a trip"),
      canWait || context.isWatched ? button("watch", context.isWatched, context.isWatched ? "Stop waiting" : "Tell me when it is free") : null,
      button("favourite", context.isFavourite, star(context.isFavourite), "Favourite"),
    ),
  );
  morph(card, fresh);
}
