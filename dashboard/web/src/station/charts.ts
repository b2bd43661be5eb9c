/** The station's forecast, its day and its last thirty days, as charts with their numbers. */
import { type Bar, bars, clock, dateTime, duration, energy, h, number, percent, plural } from "../shell";
import type { Day, ForecastAnswer, HistoryAnswer, HistoryDay, Usage } from "./answers";

function card(id: string, title: string, ...content: (HTMLElement | null)[]): HTMLElement {
  return h("section", { class: "card", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...content);
}

export const missing = (id: string, title: string, why: string): HTMLElement => card(id, title, h("p", { class: "muted", "data-missing": "" }, why));

function scoreWords(forecast: ForecastAnswer): string {
  const horizons = forecast.score?.horizons ?? [];
  const wanted = horizons.filter(({ minutes, brier_skill: skill }) => [30, 60, 120].includes(minutes) && skill !== null);
  if (!wanted.length) return "It has not been scored yet.";
  const parts = wanted.map(({ minutes, brier_skill: skill }) => `${percent(skill)} at ${minutes} min`);
  const worst = Math.max(...wanted.map(({ ece }) => ece));
  return `Scored on days it had not seen: its error is smaller than “nothing changes” by ${parts.join(", ")}; a stated chance is off by ${number(worst * 100, 1)} points at most on average.`;
}

export function forecastCard(forecast: ForecastAnswer, zone: string): HTMLElement {
  const soon = forecast.points.find((point) => point.in_min === 30) ?? forecast.points[0];
  const wait = soon?.expected_wait_s;
  const all: Bar[] = forecast.points.map((point) => ({
    label: clock(point.at, zone),
    value: point.probability_free,
    low: point.low,
    high: point.high,
    title: `${clock(point.at, zone)}, in ${point.in_min} min: ${percent(point.probability_free)} that an outlet is free, expected wait ${duration(point.expected_wait_s)}`,
  }));
  return card(
    "forecast",
    "Free when you arrive?",
    soon
      ? h(
          "p",
          { class: "forecast-lead", "data-probability": soon.probability_free },
          h("strong", { class: "figure" }, percent(soon.probability_free)),
          h("span", {}, ` chance of a free outlet in ${soon.in_min} min`, wait === null || wait === undefined ? "" : wait < 60 ? ", no wait expected" : `, expected wait ${duration(wait)}`),
        )
      : null,
    bars({
      caption: "Chance that an outlet is free, for the next four hours, with the range that it may be in",
      bars: all,
      max: 1,
      format: (value) => percent(value),
      labelTitle: "Time",
      valueTitle: "Chance",
      labelEvery: 6,
      height: 190,
    }),
    forecast.note ? h("p", { class: "small" }, forecast.note) : null,
    h(
      "p",
      { class: "small muted", "data-source": forecast.source },
      `Source: ${forecast.source}, model ${forecast.model.version}`,
      forecast.model.trained_at ? `, trained ${dateTime(forecast.model.trained_at)}. ` : ". ",
      h("span", { "data-score": forecast.score ? "yes" : "no" }, scoreWords(forecast)),
    ),
  );
}

const MEASURES: Record<string, [title: string, value: (usage: Usage) => number, format: (value: number) => string]> = {
  sessions: ["Sessions", (usage) => usage.sessions, (value) => number(value, value % 1 ? 1 : 0)],
  energy: ["Energy", (usage) => usage.energy_kwh, (value) => energy(value)],
  occupied: ["Occupied", (usage) => usage.occupied_minutes / 60, (value) => `${number(value, value % 1 ? 1 : 0)} h`],
};

export function dayCard(day: Day, hourNow: number | null): HTMLElement {
  let chosen = "occupied";
  const chart = h("div");
  const buttons = Object.entries(MEASURES).map(([name, [title]]) =>
    h("button", { type: "button", class: "button button-small", "data-measure": name, onclick: () => draw(name) }, title),
  );
  const draw = (name: string) => {
    chosen = name;
    const [title, value, format] = MEASURES[name] ?? (MEASURES.occupied as (typeof MEASURES)[string]);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.measure === chosen));
    chart.replaceChildren(
      bars({
        caption: `${title} by local hour: today so far, and a typical ${day.kind} behind it`,
        bars: day.hours.map(({ hour, today, typical }) => ({
          label: String(hour),
          value: today ? value(today) : null,
          other: typical ? value(typical) : null,
          title: `${hour}:00 – today ${today ? format(value(today)) : "not yet"}, typical ${typical ? format(value(typical)) : "not known"}`,
        })),
        format,
        labelTitle: "Hour",
        valueTitle: "Today",
        otherTitle: "Typical",
        labelEvery: 3,
        ...(hourNow === null ? {} : { now: String(hourNow) }),
      }),
    );
  };
  draw(chosen);
  return card(
    "today",
    "Today against a typical day",
    h("div", { class: "row", role: "group", "aria-label": "What is shown" }, ...buttons),
    chart,
    h(
      "p",
      { class: "row small muted" },
      h("span", { class: "key key-value" }, "today"),
      h("span", { class: "key key-other" }, `typical ${day.kind}`),
      h("span", {}, day.note ?? `mean of ${plural(day.typical_days, day.kind)}`),
    ),
  );
}

const sum = (days: HistoryDay[], key: "sessions" | "energy_kwh" | "failed_starts" | "waits" | "faults"): number | null => {
  const known = days.flatMap((day) => (day[key] === null || day[key] === undefined ? [] : [day[key]]));
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
};

/** "4 (12.5 %)" of the sessions, which the failed starts are among. */
export function failedStarts(days: HistoryDay[]): string {
  const failed = sum(days, "failed_starts");
  const sessions = sum(days, "sessions");
  return failed !== null && sessions ? `${number(failed)} (${percent(failed / sessions, 1)})` : number(failed);
}

export function historyCard(history: HistoryAnswer): HTMLElement {
  const { days } = history;
  const known = days.filter((day) => day.utilisation !== null && day.utilisation !== undefined);
  const mean = known.length ? known.reduce((total, day) => total + (day.utilisation ?? 0), 0) / known.length : null;
  const fact = (title: string, value: string, name: string) => h("div", { "data-fact": name }, h("dt", {}, title), h("dd", {}, value));
  return card(
    "history",
    "The last 30 days",
    h(
      "dl",
      { class: "facts" },
      fact("Sessions", number(sum(days, "sessions")), "sessions"),
      fact("Energy", energy(sum(days, "energy_kwh")), "energy"),
      fact("Utilisation", percent(mean), "utilisation"),
      fact("Failed starts", failedStarts(days), "failed_starts"),
      fact("Had to wait", number(sum(days, "waits")), "waits"),
      fact("Faults", number(sum(days, "faults")), "faults"),
    ),
    bars({
      caption: "Sessions by local day over the last 30 days; a red dot marks days with failed starts",
      bars: days.map((day) => ({
        label: day.date.slice(5).replace("-", "/"),
        value: day.sessions,
        dot: Boolean(day.failed_starts),
        title: `${day.date}: ${day.sessions === null ? "not known" : `${plural(day.sessions, "session")}, ${energy(day.energy_kwh)}, ${plural(day.failed_starts ?? 0, "failed start")}, utilisation ${percent(day.utilisation)}`}`,
      })),
      format: (value) => number(value),
      labelTitle: "Day",
      valueTitle: "Sessions",
      labelEvery: 7,
      height: 160,
    }),
    h("p", { class: "row small muted" }, h("span", { class: "key key-value" }, "sessions"), h("span", { class: "key key-dot" }, "a day with failed starts")),
    history.note ? h("p", { class: "small muted" }, history.note) : null,
  );
}
