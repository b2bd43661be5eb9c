/** Numbers, durations, instants and ages as text. Ages are by the server's clock, not by this machine's. */

export type Maybe<T> = T | null | undefined;
const DASH = "–";

let serverOffsetMs = 0;

/** Learns the server's clock from an answer: its state is `state_as_of` and was `age_s` old when it was sent. */
export function learnServerTime(stateAsOf: Maybe<string>, ageS: Maybe<number>): void {
  if (!stateAsOf || ageS === null || ageS === undefined) return;
  const at = Date.parse(stateAsOf);
  if (!Number.isNaN(at)) serverOffsetMs = at + ageS * 1000 - Date.now();
}

export const serverNow = (): number => Date.now() + serverOffsetMs;

/** "12 s", "4 min", "2 h 5 min", "3 d": two units at most. */
export function duration(seconds: Maybe<number>): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return DASH;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) {
    const rest = minutes % 60;
    return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
  }
  return `${Math.round(minutes / 1440)} d`;
}

/** "12 s ago", "4 h ago" of an ISO instant: one unit, as an age needs no more. */
export function ago(iso: Maybe<string>): string {
  if (!iso) return "never heard";
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return DASH;
  const seconds = (serverNow() - at) / 1000;
  return `${duration(seconds < 3600 ? seconds : Math.floor(seconds / 3600) * 3600)} ago`;
}

/** A `<time>` that keeps its age up to date: "as of 12 s ago". */
export function age(iso: Maybe<string>, before = ""): HTMLTimeElement {
  const element = document.createElement("time");
  if (iso) {
    element.dateTime = iso;
    element.title = iso;
    element.dataset.age = before;
  }
  element.textContent = before + ago(iso);
  return element;
}

/** Ages on the page get older each second. Those that are out of view cost nothing worth saving. */
export function keepAges(): void {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll<HTMLTimeElement>("time[data-age]")) {
      const text = (element.dataset.age ?? "") + ago(element.dateTime);
      if (element.textContent !== text) element.textContent = text;
    }
  }, 1000);
}

export function number(value: Maybe<number>, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const power = (kw: Maybe<number>): string => (kw === null || kw === undefined ? DASH : `${number(kw, kw % 1 ? 1 : 0)} kW`);
export const energy = (kwh: Maybe<number>): string =>
  kwh === null || kwh === undefined ? DASH : kwh >= 10_000 ? `${number(kwh / 1000, 1)} MWh` : `${number(kwh, kwh < 100 ? 1 : 0)} kWh`;
/** A share of 0 to 1 as "42 %". */
export const percent = (share: Maybe<number>, digits = 0): string =>
  share === null || share === undefined ? DASH : `${number(share * 100, digits)} %`;

/** "14:05", in the station's time zone where it is given, else in the reader's. */
export function clock(iso: Maybe<string>, timeZone?: string): string {
  if (!iso) return DASH;
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return DASH;
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  try {
    return at.toLocaleTimeString("en-US", timeZone ? { ...options, timeZone } : options);
  } catch {
    return at.toLocaleTimeString("en-US", options);
  }
}

/** "Nov 29, 14:05". */
export function dateTime(iso: Maybe<string>, timeZone?: string): string {
  if (!iso) return DASH;
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return DASH;
  const day = at.toLocaleDateString("en-US", { month: "short", day: "numeric", ...(timeZone ? { timeZone } : {}) });
  return `${day}, ${clock(iso, timeZone)}`;
}

/** "at 14:05" of today, "on Mon, Nov 30 at 14:05" of another day, for the reader; `about` comes before the time. */
export function moment(iso: string, about = ""): string {
  const day = (at: Date): string => at.toLocaleDateString("en-US", { weekday: "short", month: "short", day: "numeric" });
  const its = day(new Date(iso));
  const time = `at ${about}${clock(iso)}`;
  return its === day(new Date(serverNow())) ? time : `on ${its} ${time}`;
}

/** "1 station", "2 stations". */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${number(count)} ${count === 1 ? one : many}`;

// the platform's names are AFDC's
const CONNECTORS: Record<string, string> = {
  J1772COMBO: "CCS",
  CHADEMO: "CHAdeMO",
  TESLA: "NACS",
  IEC_62196_T2: "Type 2",
  IEC_62196_T2_COMBO: "CCS 2",
  GBT_AC: "GB/T AC",
  GBT_DC: "GB/T DC",
  J3271: "MCS",
  TESLA_R: "Tesla Roadster",
  NEMA515: "NEMA 5-15",
  NEMA520: "NEMA 5-20",
  NEMA1450: "NEMA 14-50",
};

/** A connector type as drivers call it. */
export const connector = (type: Maybe<string>): string => (type ? (CONNECTORS[type] ?? type) : "connector unknown");
