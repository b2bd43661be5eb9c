/** The stations of the view: asked when the view leaves what is known, kept current by pushes, and honest when both fail. */
import { get, isAbort, Problem, sentence } from "../lib/api";
import { Stream } from "../lib/events";
import type { Fresh, MapAnswer, MapCluster, MapStation, Vehicle } from "../lib/types";
import { type Filters, filterParams, fits, NO_FILTERS, selectsOutlets } from "./filters";
import { type Box, boxParams, holds, padded, within } from "./geometry";
import { seen, watches } from "./watch";

export interface View {
  box: Box;
  zoom: number;
}

interface Listener {
  /** New stations or groups: everything is drawn anew, as a difference. */
  answered: (answer: MapAnswer) => void;
  /** One station changed, or does not fit any more. */
  changed: (station: MapStation, gone: boolean) => void;
  vehicle: (vehicle: Vehicle) => void;
  fresh: (fresh: Fresh | null) => void;
  connected: (connected: boolean) => void;
  /** What is missing, in a sentence; empty when it is back. */
  trouble: (key: "stations" | "live", text: string) => void;
}

/** So much more than the view is asked for, in shares of its size on each side, that a small move needs no question. */
const ASK_MORE = 0.12;
/** What is asked again while the reader rests takes in over a screen more on each side: a move by a screen shows it at once. */
const ASK_AROUND = 1.1;
/** The API's most. A view that is shown as single stations stays so among more of them. */
const MOST_AROUND = 3000;
const SUBSCRIBE_MORE = 1.1;
/** A subscription that reaches no further than this beyond the view is taken anew. */
const SUBSCRIBED_AT_LEAST = 0.5;
const RETRY_MS = 4_000;
/** The answer before is drawn first. */
const AFTER_ANSWER_MS = 200;
const CLUSTERS_EVERY_MS = 10_000;
const ALL_AGAIN_EVERY_MS = 60_000;
/** A state of which nothing was heard for so long is no longer shown as if it were known. */
export const TOO_OLD_MS = 90_000;

export class ViewData {
  stations = new Map<string, MapStation>();
  clusters: MapCluster[] = [];
  answer: MapAnswer | null = null;
  isTooOld = false;
  private view: View | null = null;
  private known: (View & { mode: MapAnswer["mode"] }) | null = null;
  private asking: { view: View; abort: AbortController } | null = null;
  /** A view whose surroundings have too many stations to show them one by one. */
  private crowded: View | null = null;
  private filters: Filters = NO_FILTERS;
  private favourites: ReadonlySet<string> = new Set();
  private subscribed: Box | null = null;
  private subscribedTo = "";
  private subscribeTimer = 0;
  private againTimer = 0;
  private isOwed = false;
  private lastHeard = performance.now();
  private lastAsked = 0;
  readonly stream: Stream;

  constructor(private readonly listener: Listener) {
    this.stream = new Stream({
      station: (station) => this.pushed(station),
      vehicle: (vehicle) => listener.vehicle(vehicle),
      fresh: (fresh) => {
        const turned = this.answer !== null && fresh.stale !== this.answer.stale;
        this.heard();
        listener.trouble("live", "");
        listener.fresh(fresh);
        // from fresh to stale, or back: every station's state may be shown differently
        if (turned) this.again(300);
      },
      trouble: (detail) => {
        listener.trouble("live", `Changes do not arrive: ${detail}.`);
        this.again(1500);
      },
      connected: (connected) => {
        listener.connected(connected);
        // what changed between the answer and the subscription
        if (connected && performance.now() - this.lastAsked > 250) this.again(400);
      },
    });
    setInterval(() => this.tick(), 5_000);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && performance.now() - this.lastAsked > CLUSTERS_EVERY_MS) this.again(0);
    });
  }

  /** The reader looks at this now. */
  look(view: View): void {
    this.view = view;
    if (!this.isKnown(view)) this.ask(view);
    this.subscribeSoon();
  }

  filter(filters: Filters): void {
    this.filters = filters;
    this.known = null;
    if (this.view) this.ask(this.view);
  }

  setFavourites(favourites: ReadonlySet<string>): void {
    this.favourites = favourites;
    this.subscribeSoon();
  }

  /** Asks anew, soon, and after what is being asked: that is wanted sooner. */
  again(inMs: number): void {
    clearTimeout(this.againTimer);
    this.againTimer = setTimeout(() => {
      if (this.asking) this.isOwed = true;
      else if (this.view) this.ask(this.view, true);
    }, inMs);
  }

  /** Watches began or ended: their stations come with every subscription. */
  resubscribe(): void {
    this.subscribeSoon();
  }

  private isKnown(view: View): boolean {
    const { known } = this;
    if (!known || !within(view.box, known.box)) return false;
    // groups belong to a zoom, single stations do not
    return known.mode === "stations" || Math.floor(known.zoom) === Math.floor(view.zoom);
  }

  private ask(view: View, again = false): void {
    // a drag asks many times: a request that will cover the view goes on
    if (this.asking && !again && within(view.box, this.asking.view.box) && Math.floor(view.zoom) === Math.floor(this.asking.view.zoom)) return;
    this.asking?.abort.abort();
    const abort = new AbortController();
    const around = again && this.mayAskAround(view);
    const asked = { box: padded(view.box, around ? ASK_AROUND : ASK_MORE), zoom: view.zoom };
    this.asking = { view: asked, abort };
    this.lastAsked = performance.now();
    void this.answered(asked, abort, around ? view : null);
  }

  private mayAskAround(view: View): boolean {
    // a chance is computed for each station
    return this.known?.mode === "stations" && this.crowded !== view && this.filters.likelyFreeInMin === null;
  }

  /** `middle` is the view in the middle, if its surroundings were asked too. */
  private async answered(view: View, abort: AbortController, middle: View | null): Promise<void> {
    clearTimeout(this.againTimer);
    const filters = this.filters;
    try {
      const answer = await get<MapAnswer>(
        "/stations",
        {
          ...boxParams(view.box),
          zoom: view.zoom.toFixed(2),
          ...filterParams(filters),
          favourites: [...this.favourites].join(","),
          most_stations: middle ? MOST_AROUND : null,
        },
        abort.signal,
      );
      if (abort.signal.aborted) return;
      if (middle && answer.mode === "clusters") {
        this.crowded = middle;
        this.again(0);
        return;
      }
      this.known = { ...view, mode: answer.mode };
      this.answer = answer;
      this.stations = new Map(answer.stations.map((station) => [station.id, station]));
      this.clusters = answer.clusters;
      this.heard();
      this.listener.trouble("stations", answer.stale ? `${answer.note ?? "The live state is unknown"}.` : "");
      this.listener.fresh(answer);
      this.listener.answered(answer);
      for (const station of answer.stations) void seen(station, selectsOutlets(filters));
      this.subscribeSoon();
    } catch (error) {
      if (isAbort(error) || abort.signal.aborted) return;
      const refused = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
      this.listener.trouble(
        "stations",
        refused ? sentence(error) : `${sentence(error)} ${this.answer ? "What you see may be old." : "It is asked again."}`,
      );
      if (!refused) this.again(RETRY_MS);
    } finally {
      if (this.asking?.abort === abort) {
        this.asking = null;
        if (this.isOwed) this.again(AFTER_ANSWER_MS);
        this.isOwed = false;
      }
    }
  }

  private pushed(station: MapStation): void {
    this.heard();
    void seen(station);
    if (station.lat === null || station.lon === null) return;
    if (this.known?.mode === "clusters" && !this.favourites.has(station.id)) return;
    const before = this.stations.get(station.id);
    if (selectsOutlets(this.filters)) {
      // the push has all of its outlets, the view only those that fit: ask
      if (before) this.again(500);
      return;
    }
    if (!before && (!this.known || !holds(this.known.box, station))) return;
    const fit = fits(this.filters, station);
    const now = { ...station, fits: fit, likely_free: station.likely_free ?? before?.likely_free ?? null };
    if (!fit && !this.favourites.has(station.id)) {
      if (!before) return;
      this.stations.delete(station.id);
      this.listener.changed(now, true);
      return;
    }
    this.stations.set(station.id, now);
    this.listener.changed(now, false);
  }

  private subscribeSoon(): void {
    clearTimeout(this.subscribeTimer);
    this.subscribeTimer = setTimeout(() => this.subscribe(), 250);
  }

  private subscribe(): void {
    if (!this.view || !this.known) return;
    const { box } = this.view;
    const ids = [...new Set([...this.favourites, ...watches().map((watch) => watch.id)])].slice(0, 200).join(",");
    const groups = this.known.mode === "clusters";
    const to = `${groups}|${ids}`;
    const size = (one: Box) => (one.east - one.west) * (one.north - one.south);
    const covered =
      this.subscribed &&
      (groups || (within(padded(box, SUBSCRIBED_AT_LEAST), this.subscribed) && size(this.subscribed) < 100 * size(box)));
    if (covered && to === this.subscribedTo) return;
    // groups are counted by the server, so no single station has to be pushed
    const lat = (box.south + box.north) / 2;
    const lon = (box.west + box.east) / 2;
    const point = { west: lon, east: lon, south: lat, north: lat };
    this.subscribed = groups ? point : padded(box, SUBSCRIBE_MORE);
    this.subscribedTo = to;
    this.stream.keepHidden = watches().length > 0;
    this.stream.subscribe({ ...boxParams(this.subscribed), zoom: this.view.zoom.toFixed(2), stations: ids });
  }

  private heard(): void {
    this.lastHeard = performance.now();
    if (this.isTooOld) {
      this.isTooOld = false;
      if (this.answer) this.listener.answered(this.answer);
    }
  }

  private tick(): void {
    const now = performance.now();
    if (!this.isTooOld && this.answer && now - this.lastHeard > TOO_OLD_MS) {
      this.isTooOld = true;
      this.listener.answered(this.answer);
    }
    if (document.hidden || !this.known || this.asking) return;
    const every = this.known.mode === "clusters" ? CLUSTERS_EVERY_MS : ALL_AGAIN_EVERY_MS;
    if (now - this.lastAsked > every) this.again(0);
  }
}
