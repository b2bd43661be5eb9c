/** One station: what it does now, whether it will be free, how its days go. Each part works without the others. */
import { morph } from "../lib/morph";
import { favourites, setFavourite } from "../map/filters";
import { STATE_WORDS } from "../map/marks";
import { outletWords, star } from "../map/rows";
import { isWatched, onWatches, seen, toggleWatch, watches } from "../map/watch";
import {
  announce, banner, connector, fill, get, h, isAbort, type MapStation, onUnits, power, Problem, sentence, serverNow, setText, type Shell, Stream,
} from "../shell";
import { asMapStation, type ForecastAnswer, type HistoryAnswer, type StationAnswer } from "../station/answers";
import { dayCard, forecastCard, historyCard, missing } from "../station/charts";
import { headline, inboundCard, outletsCard } from "../station/now";

const STATION_EVERY_MS = 20_000;
const FORECAST_EVERY_MS = 60_000;
/** The change is pushed, the sessions behind it are asked: so many changes at once make one question. */
const AFTER_PUSH_MS = 250;

export async function start(main: HTMLElement, shell: Shell): Promise<void> {
  const id = decodeURIComponent(location.pathname.replace(/^\/stations\//, ""));
  const path = `/stations/${encodeURIComponent(id)}`;
  let answer: StationAnswer | null = null;
  let station: MapStation | null = null;
  let forecast: ForecastAnswer | null = null;
  let timer = 0;
  let forecastTimer = 0;
  let told = "";

  const page = h("div", { class: "page page-station" });
  const title = h("h1", { id: "name" }, id);
  const where = h("p", { class: "muted", id: "where" });
  const now = h("div", { class: "station-now", id: "now" }, h("div", { class: "skeleton" }));
  const remark = h("p", { class: "banner banner-warn" });
  remark.hidden = true;
  const actions = h("div", { class: "row station-actions" });
  const outlets = h("div", {}, h("div", { class: "skeleton" }));
  const inbound = h("div");
  const chances = h("div", { class: "station-chances" }, h("div", { class: "skeleton" }));
  const day = h("div");
  const month = h("div", {}, h("div", { class: "skeleton" }));
  page.append(
    h("p", { class: "small" }, h("a", { href: "/", class: "back", onclick: (event: Event) => goBack(event) }, "← Map")),
    h("header", { class: "station-head" }, h("div", { class: "station-title" }, title, where), actions),
    now,
    remark,
    h("div", { class: "station-grid" }, h("div", { class: "station-column" }, outlets, inbound), h("div", { class: "station-column" }, chances, day, month)),
  );
  main.append(page);

  const stream = new Stream({
    station: (pushed) => {
      void seen(pushed);
      if (pushed.id !== id || !station || !answer) return;
      // the pushed counts show at once, sessions and outlets a moment later
      station = { ...pushed, fits: true };
      drawNow();
      clearTimeout(timer);
      timer = setTimeout(() => void ask(), AFTER_PUSH_MS);
    },
    fresh: (fresh) => {
      shell.setFresh(fresh);
      banner(page, "live", "");
      if (answer && fresh.stale !== answer.stale) void ask();
    },
    trouble: (detail) => banner(page, "live", `Changes do not arrive: ${detail}.`),
    connected: (connected, again) => {
      shell.setConnected(connected);
      if (connected && again) void ask();
    },
  });

  function subscribe(): void {
    if (!station) return;
    const { lat, lon } = station;
    const ids = [...new Set([id, ...watches().map((watch) => watch.id)])].slice(0, 200).join(",");
    stream.keepHidden = watches().length > 0;
    stream.subscribe({ west: lon, east: lon, south: lat, north: lat, stations: ids });
  }

  // a push must not replace a button between a finger's down and up: what can stay stays
  const show = (host: HTMLElement, ...content: (HTMLElement | null)[]): void => morph(host, h("div", { class: host.className, id: host.id || null }, ...content));

  function drawActions(): void {
    if (!station || !answer) return;
    const isFavourite = favourites().has(id);
    const waits = isWatched(id);
    show(
      actions,
      station.state !== "free" || waits
        ? h("button", { type: "button", class: "button", id: "watch", "data-key": "watch", "aria-pressed": String(waits) }, waits ? "Stop waiting" : "Tell me when it is free")
        : null,
      h("button", { type: "button", class: "button", id: "favourite", "data-key": "favourite", "aria-pressed": String(isFavourite) }, star(isFavourite), "Favourite"),
      answer.latitude === null
        ? null
        : h("a", { class: "button button-primary", id: "trip", "data-key": "trip", href: `/trip?to=${station.lat.toFixed(5)},${station.lon.toFixed(5)}` }, "Plan a trip here"),
    );
  }
  actions.addEventListener("click", (event) => {
    const pressed = (event.target as Element).closest("button")?.id;
    if (pressed === "watch" && station) void toggleWatch(station);
    if (pressed !== "favourite") return;
    const isFavourite = favourites().has(id);
    setFavourite(id, !isFavourite);
    announce(isFavourite ? "Removed from your favourites" : "Added to your favourites");
    drawActions();
  });

  function drawNow(): void {
    if (!station || !answer) return;
    show(now, headline(station, answer));
    const words = `${STATE_WORDS[station.state]}, ${outletWords(station)}`;
    if (told && told !== words) announce(words);
    told = words;
    document.documentElement.dataset.state = station.state;
    drawActions();
  }

  function draw(): void {
    if (!answer || !station) return;
    const name = answer.station_name || id;
    setText(title, name);
    document.title = `${name} · EVCharge`;
    const kinds = [...new Set(answer.outlets.map((one) => [connector(one.connector_type), one.power_kw === null ? "" : power(one.power_kw)].filter(Boolean).join(" ")))];
    setText(where, [[answer.city, answer.state_code].filter(Boolean).join(", "), answer.network, kinds.join(", ")].filter(Boolean).join(" · "));
    remark.hidden = !answer.remark;
    setText(remark, answer.remark ?? "");
    banner(page, "note", answer.note ?? "");
    drawNow();
    show(outlets, outletsCard(answer));
    show(inbound, inboundCard(answer.inbound ?? [], answer.inbound_note));
    drawDay();
    drawForecast();
  }

  let dayShown = "";
  function drawDay(): void {
    const today = answer?.today;
    const shown = JSON.stringify(today ?? null);
    // a chart that is drawn anew would lose the open table and the chosen measure
    if (shown === dayShown) return;
    dayShown = shown;
    fill(day, today ? dayCard(today, localHour(today.time_zone)) : missing("today", "Today against a typical day", "Today's hours could not be read."));
  }

  function drawForecast(): void {
    if (forecast && answer) show(chances, forecastCard(forecast, answer.time_zone));
  }

  async function ask(): Promise<void> {
    clearTimeout(timer);
    try {
      const next = await get<StationAnswer>(path);
      answer = next;
      station = asMapStation(next);
      shell.setFresh(next);
      banner(page, "station", "");
      draw();
      void seen(station);
      subscribe();
      document.documentElement.dataset.ready = "station";
    } catch (error) {
      if (isAbort(error)) return;
      if (error instanceof Problem && error.status === 404) {
        gone(error);
        return;
      }
      banner(page, "station", `${sentence(error)} ${answer ? "What you see is what was known before." : "It is asked again."}`, "bad");
      if (!answer) {
        fill(now);
        fill(outlets, missing("outlets", "Outlets now", "Not known at the moment."));
      }
      document.documentElement.dataset.ready = "station";
    }
    timer = setTimeout(() => void askIfSeen(), STATION_EVERY_MS);
  }

  function askIfSeen(): void {
    if (document.hidden && !isWatched(id)) timer = setTimeout(() => void askIfSeen(), STATION_EVERY_MS);
    else void ask();
  }

  function gone(error: Problem): void {
    stream.close();
    clearTimeout(forecastTimer);
    document.documentElement.dataset.ready = "station";
    fill(
      page,
      h("p", { class: "eyebrow" }, "No such station"),
      h("h1", {}, "This station is not here"),
      h("p", {}, sentence(error)),
      h("p", {}, h("a", { class: "button", href: "/" }, "To the map")),
    );
  }

  async function askForecast(): Promise<void> {
    clearTimeout(forecastTimer);
    try {
      forecast = await get<ForecastAnswer>(`${path}/forecast`);
      drawForecast();
    } catch (error) {
      if (error instanceof Problem && error.status === 404 && !answer) return;
      // an hour-old forecast is worse than none
      forecast = null;
      fill(chances, missing("forecast", "Free when you arrive?", `There is no forecast: ${sentence(error)}`));
    }
    forecastTimer = setTimeout(() => void (document.hidden || askForecast()), FORECAST_EVERY_MS);
  }

  async function askHistory(): Promise<void> {
    try {
      fill(month, historyCard(await get<HistoryAnswer>(`${path}/history`)));
    } catch (error) {
      fill(month, missing("history", "The last 30 days", `They could not be read: ${sentence(error)}`));
    }
  }

  onWatches(() => {
    drawActions();
    subscribe();
  });
  onUnits(draw);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    void ask();
    void askForecast();
  });
  await Promise.all([ask(), askForecast(), askHistory()]);

  function localHour(zone: string): number | null {
    try {
      return Number(new Date(serverNow()).toLocaleString("en-US", { hour: "2-digit", hourCycle: "h23", timeZone: zone }));
    } catch {
      return null;
    }
  }
}

/** Back to the map as it was left, where that is where the reader came from. */
function goBack(event: Event): void {
  const cameFromMap = document.referrer && new URL(document.referrer).origin === location.origin && new URL(document.referrer).pathname === "/";
  if (!cameFromMap || history.length < 2) return;
  event.preventDefault();
  history.back();
}
