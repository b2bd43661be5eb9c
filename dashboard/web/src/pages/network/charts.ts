/** The operator's charts. Each shows the figures of a table that the page has too. */
import { bars, energy, h, number } from "../../shell";
import type { NetworkTable } from "./answer";
import { series } from "./figures";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** "2026-11" or "2026-11-01" as "Nov", and January as its year: the axis has room for four characters. */
export function monthLabel(month: string): string {
  const match = /^(\d{4})-(\d{2})/.exec(month);
  const name = match && MONTHS[Number(match[2]) - 1];
  if (!match || !name) return month;
  return match[2] === "01" ? (match[1] ?? month) : name;
}

/** A figure of an energy axis, in the unit that its highest value takes. */
function energyAxis(highestKwh: number): (kwh: number) => string {
  const [factor, unit] = highestKwh >= 10_000 ? [1000, "MWh"] : [1, "kWh"];
  const digits = highestKwh / factor < 10 ? 1 : 0;
  return (kwh) => `${number(kwh / factor, digits)} ${unit}`;
}

/** Bars to the right with their label and percentage: few classes, long names. */
export function percentBars(rows: { label: string; value: number | null }[], name: string): HTMLElement {
  const highest = Math.max(0.0001, ...rows.map((row) => row.value ?? 0));
  return h(
    "ul",
    { class: "share-bars", "aria-label": name },
    ...rows.map((row) => {
      const bar = h("span", { class: "share-fill", "aria-hidden": "true" });
      bar.style.width = `${Math.max(0, ((row.value ?? 0) / highest) * 100)}%`;
      return h(
        "li",
        {},
        h("span", {}, row.label),
        h("span", { class: "share-track", "aria-hidden": "true" }, bar),
        h("strong", { class: "number" }, row.value === null ? "–" : `${number(row.value, 1)} %`),
      );
    }),
  );
}

function card(title: string, about: string, ...content: Node[]): HTMLElement {
  return h(
    "section",
    { class: "card chart-card" },
    h("h3", {}, title),
    h("p", { class: "muted small" }, about),
    ...content,
  );
}

export function networkCharts(tables: Record<string, NetworkTable>): HTMLElement[] {
  const cards: HTMLElement[] = [];
  const classes = series(tables["by_power_class"], "utilisation_percent");
  if (classes.length)
    cards.push(
      card(
        "Utilisation by power class",
        "Share of the outlets’ time with a car plugged in",
        percentBars(classes, "Utilisation by power class"),
      ),
    );
  const monthly = tables["monthly"];
  const months = (word: string, text: (value: number | null) => string) =>
    series(monthly, word).map((bar) => ({
      ...bar,
      label: monthLabel(bar.label),
      title: `${bar.label}: ${text(bar.value)}`,
    }));
  const monthlyEnergy = months("energy_kwh", energy);
  if (monthlyEnergy.length) {
    cards.push(
      card(
        "Energy by month",
        "Delivered to cars",
        bars({
          caption: "Energy delivered by month",
          bars: monthlyEnergy,
          format: energyAxis(Math.max(...monthlyEnergy.map((bar) => bar.value ?? 0))),
          valueTitle: "Energy",
          labelTitle: "Month",
        }),
      ),
    );
  }
  const monthlySessions = months("sessions", number);
  if (monthlySessions.length) {
    cards.push(
      card(
        "Sessions by month",
        "Sessions that ended in the month",
        bars({
          caption: "Sessions by month",
          bars: monthlySessions,
          format: number,
          valueTitle: "Sessions",
          labelTitle: "Month",
        }),
      ),
    );
  }
  const hourly = series(tables["hours"], "sessions");
  if (hourly.length) {
    cards.push(
      card(
        "Hours of the day",
        "Sessions by the local hour in which they began",
        bars({
          caption: "Sessions by the local hour in which they began",
          bars: hourly,
          format: number,
          valueTitle: "Sessions",
          labelTitle: "Local hour",
          labelEvery: 3,
        }),
      ),
    );
  }
  return cards;
}
