/** The operator's page: how a network does over the last months. Its filter is in the address. */
import { announce, banner, fill, get, h, isAbort, plural, sentence, setText, type Params } from "../shell";
import type { NetworkAnswer } from "./network/answer";
import { networkCharts } from "./network/charts";
import { figure } from "./network/figures";
import { heatmap } from "./network/heatmap";
import { networkTable, SHORT_TITLES } from "./network/tables";

const MONTHS = ["1", "3", "6", "12"];
const TABLES = [
  "by_power_class",
  "stations",
  "silent_stations",
  "faults",
  "uptime",
  "monthly",
  "hours",
  "data_quality",
];

/** The headline figures: key, title, and what it says beside the figure. */
const TILES: [string, string, (summary: NetworkAnswer["summary"]) => string][] = [
  [
    "utilisation_percent",
    "Utilisation",
    (all) => `of the time of ${figure("outlets", all["outlets"])} outlets a car was plugged in`,
  ],
  ["energy_kwh", "Energy", () => "delivered to cars"],
  ["sessions", "Sessions", (all) => `of ${figure("stations", all["stations"])} stations`],
  [
    "failed_starts",
    "Failed starts",
    (all) =>
      `${figure("failed_starts_percent", all["failed_starts_percent"])} of the sessions got no energy or broke off`,
  ],
  [
    "idle_h",
    "Idle blocking",
    (all) => `full cars stayed plugged in: ${figure("idle_percent", all["idle_percent"])} of the stays`,
  ],
  [
    "waits",
    "Waits",
    (all) => `sessions that had to wait, ${figure("mean_wait_min", all["mean_wait_min"])} in the mean`,
  ],
];

const readFilter = (): Params => {
  const address = new URLSearchParams(location.search);
  const months = address.get("months") ?? "";
  return {
    network: address.get("network"),
    state: address.get("state"),
    months: MONTHS.includes(months) ? months : "12",
  };
};

export function start(main: HTMLElement): void {
  // what is shown here are loaded days: how old the live state is says nothing about them
  document.getElementById("freshness")?.setAttribute("hidden", "");
  const results = h(
    "div",
    { class: "network-results", "aria-busy": "true" },
    ...Array.from({ length: 3 }, () => h("div", { class: "skeleton" })),
  );
  const network = h(
    "select",
    { class: "input", name: "network", id: "network" },
    h("option", { value: "" }, "All networks"),
  );
  const state = h("select", { class: "input", name: "state", id: "state" }, h("option", { value: "" }, "All states"));
  const months = h(
    "select",
    { class: "input", name: "months", id: "months" },
    ...MONTHS.map((count) => h("option", { value: count }, plural(Number(count), "month"))),
  );
  const period = h("p", { class: "muted", id: "period" }, "Reading the figures…");
  const note = h("p", { class: "muted small", id: "note" });
  const filter = h(
    "form",
    { class: "network-filter", "aria-label": "Filter", onsubmit: (event: Event) => event.preventDefault() },
    h("label", { class: "field" }, "Network", network),
    h("label", { class: "field" }, "State", state),
    h("label", { class: "field" }, "Period", months),
  );
  const page = h(
    "div",
    { class: "page page-network" },
    h("div", { class: "page-head" }, h("div", {}, h("h1", {}, "Network"), period, note), filter),
    results,
  );
  main.append(page);

  let asking: AbortController | undefined;

  const choose = (select: HTMLSelectElement, value: string): void => {
    // a link may name a network that has no data yet: it stays to be seen and changed
    if (![...select.options].some((option) => option.value === value)) select.append(h("option", { value }, value));
    select.value = value;
  };

  const offer = (select: HTMLSelectElement, all: string, names: string[]): void => {
    const chosen = select.value;
    fill(select, h("option", { value: "" }, all), ...names.map((name) => h("option", { value: name }, name)));
    choose(select, chosen);
  };

  const ask = async (): Promise<void> => {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    const params = readFilter();
    choose(network, String(params["network"] ?? ""));
    choose(state, String(params["state"] ?? ""));
    choose(months, String(params["months"]));
    results.setAttribute("aria-busy", "true");
    try {
      const answer = await get<NetworkAnswer>("/network", params, signal);
      show(answer, params);
      banner(page, "answer", "");
    } catch (error) {
      if (isAbort(error)) return;
      banner(page, "answer", sentence(error), "bad");
      fill(
        results,
        h(
          "p",
          { class: "muted" },
          "The figures come back as soon as the warehouse answers. The map and the stations do not need it. ",
          h("a", { href: "/status" }, "See the status page"),
        ),
        again(),
      );
      period.textContent = "No figures";
      note.textContent = "";
    }
    results.setAttribute("aria-busy", "false");
    document.documentElement.dataset["ready"] = "network";
  };

  const again = () =>
    h("p", {}, h("button", { type: "button", class: "button", onclick: () => void ask() }, "Ask again"));

  const show = (answer: NetworkAnswer, params: Params): void => {
    offer(network, "All networks", answer.networks);
    offer(state, "All states", answer.states);
    period.textContent = answer.data_to
      ? `Sessions that ended from ${answer.summary["from"]} to ${answer.data_to.slice(0, 16).replace("T", " ")} UTC, which is what the warehouse has`
      : "No day is loaded yet";
    setText(note, answer.note ? sentence(answer.note) : "");
    const keys = [
      ...TABLES.filter((key) => answer.tables[key]),
      ...Object.keys(answer.tables).filter((key) => !TABLES.includes(key)),
    ];
    fill(
      results,
      tiles(answer),
      h(
        "div",
        { class: "charts-grid" },
        h("h2", { class: "visually-hidden" }, "Charts"),
        ...networkCharts(answer.tables),
      ),
      answer.heatmap ? waits(answer.heatmap) : null,
      h(
        "nav",
        { class: "jump", "aria-label": "Tables" },
        h("h2", {}, "Tables"),
        ...keys.map((key) =>
          h("a", { class: "chip", href: `#table-${key}` }, SHORT_TITLES[key] ?? answer.tables[key]?.title ?? key),
        ),
      ),
      h("div", { class: "tables-grid" }, ...keys.map((key) => networkTable(key, answer.tables[key]!, params))),
    );
    announce(`Figures of ${network.value || "all networks"}${state.value ? ` in ${state.value}` : ""} are shown`);
  };

  filter.addEventListener("change", () => {
    const address = new URLSearchParams();
    if (network.value) address.set("network", network.value);
    if (state.value) address.set("state", state.value);
    if (months.value !== "12") address.set("months", months.value);
    history.pushState(null, "", `${location.pathname}${address.size ? `?${address}` : ""}`);
    void ask();
  });
  addEventListener("popstate", () => void ask());
  void ask();
}

function tiles({ summary, tables }: NetworkAnswer): HTMLElement {
  const shown = TILES.map(([key, title, about]) => tile(key, title, figure(key, summary[key]), about(summary)));
  const uptime = tables["uptime"];
  const enough = uptime?.columns.findIndex((column) => column.key === "is_enough") ?? -1;
  if (uptime && enough >= 0) {
    const below = uptime.rows.filter((row) => row[enough] === false).length;
    // the worst ports come first, so the rest of a truncated table matters only where all that are shown are below
    const isMore = uptime.truncated && below === uptime.rows.length;
    shown.push(
      tile(
        "ports_below",
        "Ports too often out",
        `${figure("", below)}${isMore ? "+" : ""}`,
        "not above 97 % uptime in twelve months",
      ),
    );
  }
  shown.push(tile("faults", "Faults", figure("faults", summary["faults"]), "ended a session"));
  return h("dl", { class: "tiles" }, ...shown);
}

function tile(key: string, title: string, value: string, about: string): HTMLElement {
  return h(
    "div",
    { class: "tile", "data-tile": key },
    h("dt", {}, title),
    h("dd", {}, h("span", { class: "tile-value figure" }, value), h("span", { class: "muted small" }, about)),
  );
}

function waits(data: NonNullable<NetworkAnswer["heatmap"]>): HTMLElement {
  const title = "Waits by hour and station";
  return h(
    "section",
    { class: "card", id: "waits" },
    h("h2", {}, title),
    h(
      "p",
      { class: "muted small" },
      "How many sessions had to wait for an outlet, by the local hour in which they began. The stations with the most waits come first.",
    ),
    heatmap(data, title),
  );
}
