/** Questions to the API. Every failure becomes a `Problem` with a sentence that can be shown. */
import { learnServerTime } from "./format";

export const API = "/api/v1";
const TIMEOUT_MS = 15_000;

/** The API's problem+json, or what stands for it where no answer came. `status` is 0 then. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail || title);
    this.name = "Problem";
  }
}

export type Params = Record<string, string | number | boolean | null | undefined>;

export function query(params: Params): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === "" || value === false) continue;
    search.set(name, String(value));
  }
  const text = search.toString();
  return text && `?${text}`;
}

async function problemOf(response: Response): Promise<Problem> {
  let title = response.statusText || `error ${response.status}`;
  let detail = "";
  try {
    const body = (await response.json()) as { title?: unknown; detail?: unknown; message?: unknown };
    title = String(body.title ?? body.message ?? title);
    detail = typeof body.detail === "string" ? body.detail : "";
  } catch {
    // a proxy's page, say: its text helps nobody
  }
  if (response.status === 429 && !detail) detail = "too many questions at once: wait a little";
  return new Problem(response.status, title, detail);
}

/** GET below `/api/v1`. Raises `Problem`; an abort by `signal` raises its `AbortError` as it is. */
export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(API + path + query(params), {
      headers: { accept: "application/json" },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    throw new Problem(0, slow ? "no answer in time" : "the dashboard does not answer", "");
  }
  if (!response.ok) throw await problemOf(response);
  const answer = (await response.json()) as T & { state_as_of?: string | null; age_s?: number | null };
  learnServerTime(answer.state_as_of, answer.age_s);
  return answer;
}

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

/** One sentence for a reader, whatever went wrong. */
export function sentence(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

export interface Config {
  tile_url: string;
  dagster_url: string;
  version: string;
  likely_free_available: boolean;
}

let config: Promise<Config> | undefined;
/** The pages' configuration, asked once. A page works without it. */
export function configuration(): Promise<Config> {
  config ??= get<Config>("/config").catch(() => ({
    tile_url: "",
    dagster_url: "",
    version: "",
    likely_free_available: false,
  }));
  return config;
}
