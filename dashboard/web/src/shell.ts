/** What every page has: landmarks, navigation, units, theme, and how fresh the live state is. Pages take their helpers from here. */
import { h, fill, svg } from "./lib/dom";
import { ago, keepAges, serverNow } from "./lib/format";
import { followSystemTheme, theme, toggleTheme, onTheme } from "./lib/theme";
import { setUnits, units, onUnits } from "./lib/units";
import type { Fresh } from "./lib/types";

export * from "./lib/dom";
export * from "./lib/format";
export * from "./lib/units";
export * from "./lib/api";
export * from "./lib/announce";
export * from "./lib/table";
export * from "./lib/chart";
export * from "./lib/events";
export * from "./lib/storage";
export * from "./lib/theme";
export * from "./lib/types";

export type PageName = "map" | "station" | "trip" | "network" | "status" | "error";

export interface Shell {
  main: HTMLElement;
  /** Shows in the header how old the live state is, whether it is too old, and whether pushes arrive. */
  setFresh: (fresh: Fresh | null) => void;
  setConnected: (connected: boolean) => void;
}

/** The stream writes every few seconds: a state that is older is behind, though it is not yet too old to be shown. */
const LATE_MS = 60_000;

const ICONS = {
  map: "M9 4 3.5 6.200v13.300L9 17.300l6 2.500 5.500-2.200V4.300L15 6.500 9 4Zm0 0v13.300m6-10.800v13.300",
  trip: "M6 19.500a2 2 0 1 0 0-4 2 2 0 0 0 0 4Zm12-11a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM8 17.500h7a3.500 3.500 0 0 0 0-7H9a3.500 3.500 0 0 1 0-7h6.500",
  network: "M4 20V10m5.300 10V4m5.400 16v-8M20 20V7",
  status: "M3 12h4l2.500-6.500L14 19l2.500-7H21",
} as const;

const LINKS = [
  ["map", "/", "Map"],
  ["trip", "/trip", "Trip"],
  ["network", "/network", "Network"],
  ["status", "/status", "Status"],
] as const;

export function icon(path: string, label?: string): SVGSVGElement {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": label ? null : "true", role: label ? "img" : null, "aria-label": label },
    svg("path", { d: path }),
  );
}

function brand(): HTMLElement {
  return h(
    "a",
    { href: "/", class: "brand", "aria-label": "EVCharge, to the map" },
    svg(
      "svg",
      { viewBox: "0 0 32 32", "aria-hidden": "true" },
      svg("path", { d: "M18.6 4.5 8.400 17.600c-.5.6 0 1.400.7 1.400h5.400l-1.800 8.100c-.2.9.9 1.500 1.500.8L24 15.100c.5-.6.1-1.500-.7-1.500h-5.200l1.900-8.200c.2-.9-.9-1.500-1.400-.9z" }),
    ),
    h("span", {}, "EVCharge"),
  );
}

function unitSwitch(): HTMLElement {
  const option = (value: "km" | "mi") =>
    h("button", { type: "button", "aria-pressed": String(units() === value), onclick: () => setUnits(value) }, value);
  const host = h("div", { class: "switch", role: "group", "aria-label": "Units of distance", id: "units" });
  const draw = () => fill(host, option("km"), option("mi"));
  draw();
  onUnits(() => {
    const focused = host.contains(document.activeElement);
    draw();
    if (focused) host.querySelector<HTMLElement>('[aria-pressed="true"]')?.focus();
  });
  return host;
}

const SUN = "M12 7.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9ZM12 2v2m0 16v2m10-10h-2M4 12H2m17-7-1.400 1.400M6.400 17.600 5 19m14 0-1.400-1.400M6.400 6.400 5 5";
const MOON = "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500Z";

function themeButton(): HTMLElement {
  const button = h("button", { type: "button", class: "icon-button", id: "theme", onclick: toggleTheme });
  const draw = () => {
    const dark = theme() === "dark";
    fill(button, icon(dark ? SUN : MOON));
    button.setAttribute("aria-label", dark ? "Use the light theme" : "Use the dark theme");
    button.title = dark ? "Light theme" : "Dark theme";
  };
  draw();
  onTheme(draw);
  return button;
}

export function buildShell(page: PageName): Shell {
  const dot = h("span", { class: "pulse", "aria-hidden": "true" });
  const words = h("span", { class: "fresh-words" }, "connecting");
  const freshness = h("a", { href: "/status", class: "freshness", id: "freshness", "data-state": "connecting" }, dot, words);
  const nav = h(
    "nav",
    { class: "tabs", "aria-label": "Pages" },
    ...LINKS.map(([name, href, title]) =>
      h("a", { href, "aria-current": name === page ? "page" : null }, icon(ICONS[name]), h("span", {}, title)),
    ),
  );
  // the server's page has it already, with its words where it has an error to tell
  const main = document.querySelector<HTMLElement>("main") ?? h("main", { id: "main", tabindex: -1 });
  main.classList.add(`main-${page}`);
  main.querySelector("noscript")?.remove();
  const skip = h("a", { href: "#main", class: "skip", onclick: () => main.focus() }, "Skip to the content");
  document.body.prepend(
    skip,
    h("header", { class: "bar" }, brand(), nav, h("div", { class: "tools" }, freshness, unitSwitch(), themeButton())),
    main,
  );

  let fresh: Fresh | null = null;
  let connected: boolean | null = null;
  const draw = () => {
    let state = "connecting";
    let text = "connecting";
    const asOf = fresh?.state_as_of ? ` · as of ${ago(fresh.state_as_of)}` : "";
    if (fresh?.stale) {
      state = "stale";
      text = asOf ? `stale${asOf}` : "live state unknown";
    } else if (connected === false) {
      state = "lost";
      text = `reconnecting${asOf}`;
    } else if (fresh?.state_as_of && serverNow() - Date.parse(fresh.state_as_of) > LATE_MS) {
      state = "late";
      text = `delayed${asOf}`;
    } else if (fresh) {
      state = "live";
      text = `live${asOf}`;
    }
    freshness.dataset.state = state;
    // a phone has room for the age alone: the dot says the rest, and so does the label
    const short = matchMedia("(max-width: 760px)").matches && asOf ? ago(fresh?.state_as_of) : text;
    if (words.textContent !== short) words.textContent = short;
    freshness.setAttribute("aria-label", `Live state: ${text}. To the status page`);
    freshness.title = fresh?.note ?? text;
  };
  draw();
  // pages without live state show nothing about it
  freshness.hidden = page === "error";
  setInterval(() => !document.hidden && draw(), 1000);
  keepAges();
  followSystemTheme();
  return {
    main,
    setFresh: (next) => {
      fresh = next;
      draw();
    },
    setConnected: (next) => {
      connected = next;
      draw();
    },
  };
}
