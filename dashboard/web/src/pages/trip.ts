/** The trip: a plan with the waits that are expected, on the map with the connected car, made again when a stop fills up. */
import {
  announce,
  fill,
  get,
  h,
  isAbort,
  type MapStation,
  onUnits,
  Problem,
  sentence,
  setText,
  type Shell,
  Stream,
  type Vehicle,
} from "../shell";
import type { EvModel, Stop, TripAnswer } from "./trip/answer";
import { EVERYWHERE, LISTED_CARS } from "./trip/car";
import { tripForm } from "./trip/form";
import { planSummary, planTitle, planView } from "./trip/itinerary";
import { departureNote, isComplete, readQuestion, tripParameters, type TripQuestion, writeQuestion } from "./trip/question";
import { TripMap } from "./trip/trip_map";
import { describeChange, leavesAtOnce, PlanWatch, type Trigger } from "./trip/watch";

/** How often the waits on arrival are asked anew. */
const WAITS_MS = 60_000;
/** The forecast reaches so far ahead. */
const FORECAST_MIN = 240;
/** A view of the stream without a station: only what it names is wanted. */
const NOWHERE = { west: 0, south: -90, east: 1, north: -89 };

interface Plan {
  question: TripQuestion;
  answer: TripAnswer;
}

export function start(main: HTMLElement, shell: Shell): void {
  let question = readQuestion(new URLSearchParams(location.search));
  let models: EvModel[] = [];
  let vehicle: Vehicle | null = null;
  let plan: Plan | null = null;
  let asking: AbortController | undefined;
  /** The driver's own question is on its way: nothing else changes the plan meanwhile. */
  let busy = false;
  let working = Promise.resolve();
  const names = new Map<string, string>();
  const watch = new PlanWatch();

  const form = tripForm({
    models: () => models,
    submit: () => void submit(),
    pickCar: (id) => void pickCar(id, true),
    leaveCar: () => leaveCar(),
    listCars: () => void listCars(),
    allow: (id) => void planAgain({ ...question, avoid: question.avoid.filter((other) => other !== id) }),
  });
  const summaryText = h("span", { class: "trip-summary" }, "Plan a trip");
  const summary = h("summary", {}, summaryText, h("span", { class: "change" }, "Change"));
  const ask = h("details", { class: "trip-ask", open: true }, summary, form.element);
  const problem = h("div", { class: "trip-problem", role: "alert" });
  const changeText = h("p", { role: "status", "aria-live": "polite", id: "plan-change" });
  const changeActions = h("div", { class: "row" });
  const change = h("div", { class: "plan-change", hidden: true }, changeText, changeActions);
  const heading = h("h2", { tabindex: -1, id: "plan-title" });
  const result = h("div", { class: "trip-result", "aria-busy": "false" });
  const planned = h(
    "section",
    { class: "trip-plan", "aria-labelledby": "plan-title", hidden: true },
    heading,
    change,
    result,
  );
  const follow = h(
    "button",
    { type: "button", class: "button button-small", "aria-pressed": "false", hidden: true },
    "Follow the car",
  );
  const legend = h("p", { class: "map-legend", hidden: true }, "Dashed ring: as far as the charge reaches, about");
  const mapHost = h("div", { class: "trip-map-canvas", id: "trip-map" });
  main.append(
    h("h1", { class: "visually-hidden" }, "Trip"),
    h(
      "div",
      { class: "trip" },
      h("div", { class: "trip-side-top" }, ask, problem, form.telemetry),
      h(
        "section",
        { class: "trip-map", "aria-label": "Map of the trip" },
        mapHost,
        h("div", { class: "map-tools" }, follow, legend),
      ),
      h("div", { class: "trip-side" }, planned),
    ),
  );
  const map = new TripMap(mapHost, (id) => void pickCar(id, true));

  const setFollow = (on: boolean): void => {
    follow.setAttribute("aria-pressed", String(on));
    map.follow(on);
  };
  follow.addEventListener("click", () => setFollow(follow.getAttribute("aria-pressed") !== "true"));
  map.onDrag(() => follow.setAttribute("aria-pressed", "false"));

  const stream = new Stream({
    station: (station) => heard(station.id, station.state),
    vehicle: (next) => showVehicle(next, false),
    fresh: (fresh) => shell.setFresh(fresh),
    connected: (connected) => {
      shell.setConnected(connected);
      // a stop may have filled up since the plan was made, or while the stream was away
      if (connected) void lookAtStops();
    },
    // what was missed has to be asked
    trouble: () => void lookAtStops(),
  });
  const subscribe = (): void => {
    stream.subscribe({ ...NOWHERE, stations: watch.stationIds.join(","), vehicles: question.vehicle });
  };

  // --- the address and the form

  const remember = (next: TripQuestion, push: boolean): void => {
    question = next;
    const address = writeQuestion(next).toString();
    const url = location.pathname + (address && `?${address}`);
    if (url === location.pathname + location.search) return;
    if (push) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  };

  const showQuestion = (): void => {
    form.write(question);
    form.setAvoided(question.avoid.map((id) => ({ id, name: names.get(id) ?? id })));
  };

  const complain = (text: string, kind: "bad" | "warn" = "bad"): void => {
    fill(problem, text ? h("p", { class: `banner banner-${kind}` }, text) : null);
  };

  const ready = (): void => {
    document.documentElement.dataset["ready"] = "trip";
  };

  // --- the connected car

  const showVehicle = (next: Vehicle, move: boolean): void => {
    if (next.id !== question.vehicle) return;
    vehicle = next;
    form.setVehicle(next);
    follow.hidden = false;
    legend.hidden = false;
    void map.showCar(next, move);
  };

  const pickCar = async (id: string, push: boolean): Promise<void> => {
    complain("");
    try {
      const found = await get<Vehicle>(`/vehicles/${encodeURIComponent(id)}`);
      remember({ ...question, vehicle: found.id, from: "", fromName: "", model: "", soc: "" }, push);
      showQuestion();
      showVehicle(found, !plan);
      void map.showCars([]);
      subscribe();
      if (push) {
        announce("The car is picked");
        document.getElementById("to")?.focus();
      }
    } catch (error) {
      complain(sentence(error));
      if (error instanceof Problem && error.status === 404 && question.vehicle === id) leaveCar();
    }
  };

  const leaveCar = (): void => {
    vehicle = null;
    form.setVehicle(null);
    remember({ ...question, vehicle: "" }, true);
    showQuestion();
    follow.hidden = true;
    legend.hidden = true;
    setFollow(false);
    void map.showCar(null, false);
    void listCars();
    subscribe();
  };

  const listCars = async (): Promise<void> => {
    form.cars.busy();
    try {
      await map.ready;
      const answer = await get<{ vehicles: Vehicle[]; truncated: boolean; note?: string | null }>("/vehicles", {
        ...(map.view ?? EVERYWHERE),
        limit: LISTED_CARS * 5,
      });
      form.cars.show(answer.vehicles, answer.truncated);
      void map.showCars(question.vehicle ? [] : answer.vehicles);
    } catch (error) {
      form.cars.fail(error);
    }
  };

  // --- planning

  /** The question with what a picked car reports now. */
  const withCar = (asked: TripQuestion): TripQuestion => {
    if (!asked.vehicle || !vehicle) return asked;
    return {
      ...asked,
      from: `${vehicle.lat.toFixed(5)},${vehicle.lon.toFixed(5)}`,
      model: vehicle.ev_model_id ?? "",
      soc: String(Math.max(1, Math.round(vehicle.state_of_charge ?? 0))),
    };
  };

  const fetchPlan = async (asked: TripQuestion, signal?: AbortSignal): Promise<TripAnswer> => {
    const answer = await get<TripAnswer>("/trip", Object.fromEntries(tripParameters(withCar(asked))), signal);
    const name = asked.vehicle ? "The car’s position" : asked.fromName;
    // coordinates have no name of their own
    if (name) answer.from = { ...answer.from, name, state_code: null };
    if (asked.toName) answer.to = { ...answer.to, name: asked.toName, state_code: null };
    return answer;
  };

  const submit = async (): Promise<void> => {
    const asked = form.read();
    if (!isComplete(withCar(asked))) {
      form.complain();
      complain("Something is missing: a car with its charge, where from, and where to.");
      return;
    }
    await planAgain(asked);
  };

  /** A plan that the driver asked for. */
  const planAgain = async (wanted: TripQuestion, push = true): Promise<void> => {
    const departure = departureNote(wanted.departAt);
    const asked = departure ? { ...wanted, departAt: "" } : wanted;
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    remember(asked, push);
    showQuestion();
    complain(departure, "warn");
    busy = true;
    form.setBusy(true);
    result.setAttribute("aria-busy", "true");
    try {
      const answer = await fetchPlan(asked, signal);
      plan = { question: asked, answer };
      watch.follow(answer);
      showChange("");
      showPlan(answer, true);
      ask.open = false;
      heading.focus({ preventScroll: true });
      announce(answer.feasible ? `Planned: ${planTitle(answer)}` : "This trip cannot be made as asked");
      subscribe();
    } catch (error) {
      if (isAbort(error)) return;
      complain(sentence(error));
      ask.open = true;
      // an old plan must not stand under a new question
      plan = null;
      planned.hidden = true;
      void map.showPlan(null, false, false);
    } finally {
      if (asking.signal === signal) {
        busy = false;
        form.setBusy(false);
        result.setAttribute("aria-busy", "false");
      }
    }
    ready();
  };

  const showPlan = (answer: TripAnswer, move: boolean): void => {
    for (const stop of answer.stops) {
      names.set(stop.station_id, stop.name);
      if (stop.alternative) names.set(stop.alternative.station_id, stop.alternative.name);
    }
    planned.hidden = false;
    setText(heading, planTitle(answer));
    fill(result, planView(answer, { avoid: (id) => void planAgain({ ...question, avoid: [...question.avoid, id] }) }));
    setText(summaryText, planSummary(answer, departureNote(question.departAt) ? "" : question.departAt));
    form.setAvoided(question.avoid.map((id) => ({ id, name: names.get(id) ?? id })));
    shell.setFresh(answer);
    void map.showPlan(answer, move, Boolean(question.vehicle));
  };

  const showChange = (text: string, ...actions: HTMLElement[]): void => {
    change.hidden = !text;
    setText(changeText, text);
    fill(changeActions, ...actions);
  };

  // --- what happens to the stops

  const heard = (stationId: string, state: string): void => {
    const trigger = watch.onState(stationId, state);
    if (trigger) react(trigger);
  };

  /** Reactions come one after the other; each looks whether its stop is still in the plan. */
  const react = (trigger: Trigger): void => {
    working = working.then(() => replan(trigger)).catch((error: unknown) => complain(sentence(error)));
  };

  const replan = async (trigger: Trigger): Promise<void> => {
    const before = plan;
    const id = trigger.stop.station_id;
    if (busy || !before?.answer.stops.some((stop) => stop.station_id === id)) return;
    const without = { ...before.question, avoid: [...before.question.avoid, id] };
    let answer = await fetchPlan(leavesAtOnce(trigger.reason) ? without : before.question);
    if (busy || plan !== before) return;
    let next = before.question;
    if (!answer.stops.some((stop) => stop.station_id === id)) {
      // a station that was left stays left: a plan that swings back and forth helps nobody
      next = without;
    }
    if (!answer.feasible && before.answer.feasible && leavesAtOnce(trigger.reason)) {
      answer = await fetchPlan(before.question);
      next = before.question;
      if (busy || plan !== before) return;
    }
    plan = { question: next, answer };
    watch.replace(answer);
    remember(next, false);
    showQuestion();
    showPlan(answer, false);
    const undo = h(
      "button",
      { type: "button", class: "button button-small", id: "undo", onclick: () => takeBack(before, trigger) },
      "Undo",
    );
    const kept = answer.stops.find((stop) => stop.station_id === id);
    const instead = kept?.alternative
      ? h(
          "button",
          {
            type: "button",
            class: "button button-small",
            onclick: () => void planAgain({ ...question, avoid: [...question.avoid, id] }),
          },
          `Use ${kept.alternative.name}`,
        )
      : null;
    showChange(
      describeChange(trigger, before.answer, answer, Boolean(next.vehicle)),
      ...(kept ? (instead ? [instead] : []) : [undo]),
    );
    planned.dataset["replanned"] = id;
    subscribe();
  };

  const takeBack = (before: Plan, trigger: Trigger): void => {
    plan = before;
    watch.replace(before.answer);
    remember(before.question, false);
    showQuestion();
    showPlan(before.answer, false);
    showChange(`The plan is as before, with stop ${trigger.number} at ${trigger.stop.name}.`);
    heading.focus({ preventScroll: true });
    subscribe();
  };

  /** Asks for the stops' states, of which the stream may have missed changes. */
  const lookAtStops = async (): Promise<void> => {
    const looked = plan;
    await Promise.all(
      watch.stationIds.map(async (id) => {
        try {
          const station = await get<Pick<MapStation, "state">>(`/stations/${encodeURIComponent(id)}`);
          if (plan === looked) heard(id, station.state);
        } catch {
          // the stream tells of it later
        }
      }),
    );
  };

  const askWait = async (stop: Stop): Promise<void> => {
    const inMin = Math.round((Date.parse(stop.arrive_at ?? "") - Date.now()) / 60_000);
    if (!(inMin >= 0 && inMin <= FORECAST_MIN)) return;
    try {
      const { points } = await get<{ points: { expected_wait_s: number | null }[] }>(
        `/stations/${encodeURIComponent(stop.station_id)}/forecast`,
        { in_min: inMin, connector: stop.connector_type },
      );
      const wait = points[0]?.expected_wait_s;
      const trigger = wait === null || wait === undefined ? null : watch.onWait(stop.station_id, wait);
      if (trigger) react(trigger);
    } catch {
      // asked again in a minute
    }
  };
  setInterval(() => {
    if (!document.hidden && plan) for (const stop of plan.answer.stops) void askWait(stop);
  }, WAITS_MS);

  onUnits(() => {
    if (plan) showPlan(plan.answer, false);
    if (vehicle) form.setVehicle(vehicle);
  });

  addEventListener("popstate", () => {
    question = readQuestion(new URLSearchParams(location.search));
    void open();
  });

  /** What the address asks for. */
  const open = async (): Promise<void> => {
    showQuestion();
    if (question.vehicle) await pickCar(question.vehicle, false);
    else {
      form.setVehicle(null);
      void map.showCar(null, false);
    }
    if (isComplete(withCar(question))) await planAgain(question, false);
    ready();
  };

  void get<{ models: EvModel[] }>("/ev-models")
    .then((answer) => {
      models = answer.models;
      form.setModels(models);
      if (vehicle) form.setVehicle(vehicle);
    })
    .catch((error: unknown) => complain(sentence(error)));
  subscribe();
  void open();
}
