/** The server's pushed changes. A stream comes back by itself: after an error, a refusal, sleep or a long time in the background. */
import { API, type Params, query } from "./api";
import { learnServerTime } from "./format";
import type { Fresh, MapStation, Vehicle } from "./types";

export interface Handlers {
  station?: (station: MapStation) => void;
  vehicle?: (vehicle: Vehicle) => void;
  fresh?: (fresh: Fresh) => void;
  /** The server's own word that something is missing. */
  trouble?: (detail: string) => void;
  /** Called when the stream opens, and when it is lost: what came in between has to be asked anew. */
  connected?: (connected: boolean, again: boolean) => void;
}

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** The server says something every five seconds: silence for four times as long is a dead connection. */
const SILENCE_MS = 20_000;
const HIDDEN_MS = 60_000;

export class Stream {
  private source: EventSource | null = null;
  private retryMs = FIRST_RETRY_MS;
  private retryTimer = 0;
  private silenceTimer = 0;
  private hiddenTimer = 0;
  private opened = 0;
  private closed = false;
  private params: Params = {};
  /** Keep it open in a hidden tab: somebody waits for a notification. */
  keepHidden = false;

  constructor(
    private readonly handlers: Handlers,
    private readonly path = "/events",
  ) {
    document.addEventListener("visibilitychange", this.onVisibility);
    addEventListener("online", this.onOnline);
    addEventListener("pagehide", this.onPageHide);
    addEventListener("pageshow", this.onPageShow);
  }

  /** Subscribes, or subscribes anew where the parameters differ. */
  subscribe(params: Params): void {
    if (this.source && query(params) === query(this.params)) return;
    this.params = params;
    this.closed = false;
    this.open();
  }

  close(): void {
    this.closed = true;
    this.drop();
    document.removeEventListener("visibilitychange", this.onVisibility);
    removeEventListener("online", this.onOnline);
    removeEventListener("pagehide", this.onPageHide);
    removeEventListener("pageshow", this.onPageShow);
  }

  private drop(): void {
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    this.source?.close();
    this.source = null;
  }

  private open(): void {
    const before = this.source;
    clearTimeout(this.retryTimer);
    const source = new EventSource(API + this.path + query(this.params));
    this.source = source;
    // the old stream speaks until the new one is there, so that a move of the map misses nothing
    const retire = () => before?.close();
    const silent = setTimeout(retire, 5_000);
    const on = <T>(name: string, handle: (value: T) => void) => {
      source.addEventListener(name, (event) => {
        if (source !== this.source) return;
        this.heard();
        let value: T;
        try {
          value = JSON.parse((event as MessageEvent<string>).data) as T;
        } catch {
          return;
        }
        handle(value);
      });
    };
    source.onopen = () => {
      clearTimeout(silent);
      retire();
      if (source !== this.source) return;
      this.retryMs = FIRST_RETRY_MS;
      this.heard();
      this.handlers.connected?.(true, this.opened++ > 0);
    };
    on<MapStation>("station", (station) => this.handlers.station?.(station));
    on<Vehicle>("vehicle", (vehicle) => this.handlers.vehicle?.(vehicle));
    on<Fresh>("fresh", (fresh) => {
      learnServerTime(fresh.state_as_of, fresh.age_s);
      this.handlers.fresh?.(fresh);
    });
    // "error" is both the browser's own event and the server's: only the server's has data
    source.addEventListener("error", (event) => {
      if (source !== this.source) return;
      if (event instanceof MessageEvent) {
        let detail = "";
        try {
          detail = String((JSON.parse(event.data as string) as { detail?: unknown }).detail ?? "");
        } catch {
          return;
        }
        this.handlers.trouble?.(detail);
        return;
      }
      retire();
      this.lost();
    });
  }

  private heard(): void {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => this.lost(), SILENCE_MS);
  }

  private lost(): void {
    this.drop();
    this.handlers.connected?.(false, this.opened > 0);
    if (this.closed || (document.hidden && !this.keepHidden)) return;
    // spread over time, so that a server that comes back is not asked by all at once
    this.retryTimer = setTimeout(() => this.open(), this.retryMs * (0.7 + 0.6 * Math.random()));
    this.retryMs = Math.min(LONGEST_RETRY_MS, this.retryMs * 2);
  }

  private readonly onVisibility = (): void => {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = setTimeout(() => !this.keepHidden && this.drop(), HIDDEN_MS);
    } else if (!this.source && !this.closed) this.open();
  };

  private readonly onOnline = (): void => {
    if (!this.source && !this.closed) this.open();
  };

  // an open stream would keep the page out of the browser's back cache
  private readonly onPageHide = (): void => this.drop();

  private readonly onPageShow = (event: PageTransitionEvent): void => {
    if (event.persisted && !this.source && !this.closed) this.open();
  };
}
