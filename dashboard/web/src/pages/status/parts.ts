/** The parts of the status page, made anew at each answer and morphed into what is shown. */
import { age, type Child, fill, h, number, plural, sentence, svg, table } from "../../shell";
import type { Coming, Feed, Parked, StatusAnswer, Store } from "./answer";
import { bytes, diskGrade, type Grade, gradeOf } from "./grade";

const SHAPES: Record<Grade, string> = {
  good: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm-4 9.200 2.800 2.800L16 9.500",
  warn: "M12 4 2.800 19.500h18.400L12 4Zm0 6v4.500m0 2.500v.1",
  bad: "M8.300 3h7.400L21 8.300v7.400L15.700 21H8.300L3 15.700V8.300L8.300 3Zm.7 6 6 6m0-6-6 6",
  coming: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 4.500V12l3 2",
  none: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM8 12h8",
};

/** The word of a state with its icon and colour. */
export function stateMark(word: string, grade: Grade): HTMLElement {
  return h(
    "span",
    { class: `state-mark state-${grade}`, "data-grade": grade },
    svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: SHAPES[grade] })),
    h("span", {}, word || "unknown"),
  );
}

function section(key: string, title: string, ...children: Child[]): HTMLElement {
  const id = `status-${key}`;
  return h("section", { class: "card", "data-key": key, "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

function fact(name: string, ...value: Child[]): HTMLElement {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, ...value));
}

/** A store that is down because it is still to come is no fault: it has the word of what happens to it. */
export function storesNow(stores: Store[], coming: Coming[]): Store[] {
  return stores.map((store) => {
    const part = coming.find((item) => item.what.toLowerCase() === store.name.toLowerCase());
    return part && store.state !== "up"
      ? { ...store, state: part.state, detail: part.detail || null, as_of: null }
      : store;
  });
}

export function comingSection(coming: Coming[], stores: Store[]): HTMLElement | null {
  if (!coming.length) return null;
  const up = stores.filter((store) => store.state === "up").length;
  return section(
    "coming",
    "Still coming",
    h("p", {}, "The map lives before everything is there. The rest is built at low priority and joins by itself."),
    h(
      "div",
      { class: "progress-line" },
      h("progress", { max: Math.max(1, stores.length), value: up, "aria-label": "Servers that are up" }),
      h("span", {}, `${up} of ${plural(stores.length, "server")} up`),
    ),
    h(
      "ul",
      { class: "coming" },
      ...coming.map((item) =>
        h(
          "li",
          { "data-key": item.what, "data-coming": item.what },
          h("strong", {}, item.what),
          stateMark(item.state, gradeOf(item.state)),
          h("span", { class: "muted" }, item.detail ?? ""),
        ),
      ),
    ),
  );
}

export function feedsSection(feeds: Feed[]): HTMLElement {
  return section(
    "feeds",
    "Feeds",
    table<Feed>({
      caption: "How current each feed is, and how many of its messages wait",
      hideCaption: true,
      rows: feeds,
      empty: "No feed is known yet.",
      attributes: (feed) => ({ "data-feed": feed.name, "data-key": `${feed.name} ${feed.topic}` }),
      columns: [
        { key: "name", title: "Feed" },
        {
          key: "state",
          title: "State",
          cell: (feed) =>
            feed.detail
              ? h("div", {}, stateMark(feed.state, gradeOf(feed.state)), h("p", { class: "small" }, feed.detail))
              : stateMark(feed.state, gradeOf(feed.state)),
        },
        { key: "as_of", title: "Read up to", cell: (feed) => age(feed.as_of) },
        { key: "last_at", title: "Newest message", cell: (feed) => (feed.last_at ? age(feed.last_at) : "–") },
        { key: "lag", title: "Waiting", numeric: true, cell: (feed) => number(feed.lag) },
        { key: "topic", title: "Topic", cell: (feed) => h("code", {}, feed.topic ?? "–") },
      ],
    }),
  );
}

export function storesSection(stores: Store[]): HTMLElement {
  return section(
    "stores",
    "Stores",
    h(
      "ul",
      { class: "stores" },
      ...stores.map((store) =>
        h(
          "li",
          { class: "store", "data-key": store.name, "data-store": store.name },
          h("h3", {}, store.name),
          stateMark(store.state, gradeOf(store.state)),
          store.detail ? h("p", {}, store.detail) : null,
          store.as_of ? h("p", { class: "muted" }, age(store.as_of, "as of ")) : null,
        ),
      ),
    ),
  );
}

/** Only what a browser can open: a link from an answer never runs a script. */
const isSafe = (url: string): boolean => /^(https?:\/\/|\/(?!\/))/i.test(url);

function parkedItem(parked: Parked): HTMLElement {
  return h(
    "li",
    { "data-key": `${parked.topic} ${parked.range}`, "data-parked": parked.topic },
    h("p", {}, stateMark("parked", "bad"), " ", h("strong", {}, parked.topic), ", range ", h("code", {}, parked.range)),
    h(
      "p",
      {},
      `It failed ${plural(parked.attempts, "time")}`,
      parked.parked_at ? age(parked.parked_at, ", last ") : "",
      ".",
    ),
    h(
      "p",
      {},
      "What to do: ",
      isSafe(parked.url) ? h("a", { href: parked.url }, "see why the run failed") : "see why the run failed",
      ", then send it to the quarantine and go on with ",
      h("code", {}, parked.command),
    ),
  );
}

export function lakeSection(lake: StatusAnswer["lake"]): HTMLElement {
  const { parked } = lake;
  return section(
    "lake",
    "Lake",
    h(
      "dl",
      { class: "facts" },
      fact("Last merge", lake.last_merge_at ? age(lake.last_merge_at) : "none yet"),
      fact("Commit", h("code", {}, lake.commit ? lake.commit.slice(0, 12) : "–")),
      fact("Rows not yet published", number(lake.unpublished_rows)),
      fact("In quarantine lately", number(lake.quarantined_rows)),
      fact("Parked ranges", parked.length ? stateMark(String(parked.length), "bad") : stateMark("none", "good")),
    ),
    lake.note ? h("p", { class: "muted small" }, sentence(lake.note)) : null,
    parked.length
      ? h(
          "div",
          { class: "parked" },
          h("h3", {}, "Parked ranges"),
          h("p", {}, "Nothing of them is lost, and nothing behind them is published until they are released."),
          h("ul", {}, ...parked.map(parkedItem)),
        )
      : null,
  );
}

export function warehouseSection(warehouse: StatusAnswer["warehouse"]): HTMLElement {
  const days = warehouse.pending_days;
  const names =
    days && days.length > 6 ? `${days.slice(0, 6).join(", ")} and ${days.length - 6} more` : days?.join(", ");
  return section(
    "warehouse",
    "Warehouse",
    h(
      "dl",
      { class: "facts" },
      fact("Last loaded day", warehouse.last_loaded_day ?? "none yet"),
      fact("Loaded", warehouse.last_loaded_at ? age(warehouse.last_loaded_at) : "–"),
      fact(
        "Days to load",
        days === null
          ? stateMark("not known", "none")
          : days.length
            ? stateMark(plural(days.length, "day"), "coming")
            : stateMark("none", "good"),
      ),
    ),
    names ? h("p", { class: "muted" }, names) : null,
    warehouse.note ? h("p", { class: "muted small" }, sentence(warehouse.note)) : null,
  );
}

export function diskSection(disk: StatusAnswer["disk"]): HTMLElement {
  const grade = diskGrade(disk);
  const word = { good: "enough room", warn: "little room", bad: "full", coming: "", none: "not known" }[grade];
  const used = disk.total_bytes !== null && disk.free_bytes !== null ? disk.total_bytes - disk.free_bytes : null;
  return section(
    "disk",
    "Disk",
    h("p", {}, stateMark(word, grade)),
    grade === "bad"
      ? h("p", {}, `Nothing is sent, published or loaded until ${bytes(disk.reserve_bytes)} are free. What waits is kept.`)
      : null,
    used === null || disk.total_bytes === null
      ? null
      : h("meter", {
          min: 0,
          max: disk.total_bytes,
          value: used,
          high: disk.total_bytes * 0.9,
          "aria-label": "Used part of the disk",
        }),
    h(
      "dl",
      { class: "facts" },
      fact("Free", bytes(disk.free_bytes)),
      fact("Of", bytes(disk.total_bytes)),
      fact("The platform's home", bytes(disk.home_bytes)),
    ),
  );
}

export function linksSection(links: StatusAnswer["links"]): HTMLElement | null {
  const safe = links.filter((link) => isSafe(link.url));
  if (!safe.length) return null;
  return section(
    "links",
    "Look further",
    h(
      "ul",
      { class: "links" },
      ...safe.map((link) => h("li", { "data-key": link.url }, h("a", { href: link.url }, link.title))),
    ),
  );
}

export function headline(host: HTMLElement, grade: Grade, text: string): void {
  if (host.dataset["text"] === text) return;
  host.dataset["text"] = text;
  host.dataset["grade"] = grade;
  fill(host, stateMark(text, grade));
}
