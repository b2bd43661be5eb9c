/** A plan's question in the page's address, so that a plan is a link. */

export interface TripQuestion {
  /** A simulated car. Its position, model and state of charge then come from its telemetry. */
  vehicle: string;
  from: string;
  /** The suggestion's name where `from` is its coordinates. */
  fromName: string;
  to: string;
  toName: string;
  model: string;
  soc: string;
  arriveWith: string;
  stopWith: string;
  referenceConsumption: string;
  temperature: string;
  /** An instant as ISO 8601 in UTC; empty: now. */
  departAt: string;
  avoid: string[];
}

/** The names in the address. Those of the interface are the same; `vehicle` and the names of places are ours. */
const PARAMETERS = {
  vehicle: "vehicle",
  from: "from",
  fromName: "from_name",
  to: "to",
  toName: "to_name",
  model: "model",
  soc: "soc",
  arriveWith: "arrive_with",
  stopWith: "stop_with",
  referenceConsumption: "reference_consumption",
  temperature: "temperature_c",
  departAt: "depart_at",
} as const;

const ASKED = ["from", "to", "model", "soc", "arriveWith", "stopWith", "referenceConsumption", "temperature"] as const;

export function readQuestion(address: URLSearchParams): TripQuestion {
  const texts = Object.entries(PARAMETERS).map(([key, name]) => [key, address.get(name)?.trim() ?? ""]);
  const avoid = (address.get("avoid") ?? "").split(",").filter(Boolean);
  const question = { ...Object.fromEntries(texts), avoid: [...new Set(avoid)] } as TripQuestion;
  // a link may say it as a field does, without a zone
  return { ...question, departAt: instantOf(question.departAt) || question.departAt };
}

export function writeQuestion(question: TripQuestion): URLSearchParams {
  const address = new URLSearchParams();
  for (const [key, name] of Object.entries(PARAMETERS)) {
    const value = question[key as keyof typeof PARAMETERS];
    if (value) address.set(name, value);
  }
  if (question.avoid.length) address.set("avoid", question.avoid.join(","));
  return address;
}

/** What the interface is asked. */
export function tripParameters(question: TripQuestion, now = Date.now()): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const key of ASKED) {
    if (question[key]) parameters.set(PARAMETERS[key], question[key]);
  }
  // a plan that stays open is made again after its departure: the car leaves now then
  if (Date.parse(question.departAt) > now) parameters.set("depart_at", question.departAt);
  if (question.avoid.length) parameters.set("avoid", question.avoid.join(","));
  return parameters;
}

/** Why a departure that was asked for is not kept, in a sentence; empty where it is. */
export function departureNote(departAt: string, now = Date.now()): string {
  const at = Date.parse(departAt);
  if (!departAt || at > now) return "";
  return `That departure ${Number.isNaN(at) ? "is not a time" : "has passed"}: planned for now.`;
}

/** An instant as a field of type `datetime-local` has it; empty where it is none. */
export function localTime(instant: string): string {
  const at = new Date(instant);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What such a field says, as an instant; empty where it says nothing. */
export function instantOf(local: string): string {
  const at = new Date(local);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString();
}

export function isComplete(question: TripQuestion): boolean {
  return Boolean(question.from && question.to && question.model && question.soc);
}
