/** The trip's form. It knows what is asked; `trip.ts` knows what is done with it. */
import { connector, consumption, h, number, power, type Vehicle } from "../../shell";
import type { EvModel } from "./answer";
import { type CarList, carList, modelName, showTelemetry } from "./car";
import { placeField } from "./place_field";
import { instantOf, localTime, type TripQuestion } from "./question";

export interface TripForm {
  element: HTMLElement;
  /** The picked car's telemetry, which stays in sight when the form is closed. */
  telemetry: HTMLElement;
  cars: CarList;
  read: () => TripQuestion;
  write: (question: TripQuestion) => void;
  setModels: (models: EvModel[]) => void;
  /** The picked car as it is now; null where none is picked. */
  setVehicle: (vehicle: Vehicle | null) => void;
  /** Points at the first field that is missing. */
  complain: () => void;
  setAvoided: (stations: { id: string; name: string }[]) => void;
  setBusy: (busy: boolean) => void;
}

export interface FormActions {
  models: () => EvModel[];
  submit: () => void;
  pickCar: (id: string) => void;
  leaveCar: () => void;
  listCars: () => void;
  allow: (stationId: string) => void;
}

interface NumberField {
  id: string;
  label: string;
  min: number;
  max: number;
  step: number;
  unit: string;
  placeholder: string;
}

function numberField({ id, label, unit, ...rest }: NumberField): { element: HTMLElement; input: HTMLInputElement } {
  // what is written ends before the unit
  const style = `padding-right: ${unit.length / 2 + 1.1}rem`;
  const input = h("input", { id, name: id, class: "input", type: "number", inputmode: "decimal", style, ...rest });
  return {
    element: h(
      "label",
      { class: "field" },
      label,
      h("span", { class: "with-unit" }, input, h("span", { "aria-hidden": "true" }, unit)),
    ),
    input,
  };
}

export function tripForm(actions: FormActions): TripForm {
  let question: TripQuestion | undefined;
  let models: EvModel[] = [];
  const from = placeField("from", "From", "Place, ZIP, station id or coordinates");
  const to = placeField("to", "To", "Place, ZIP, station id or coordinates");
  const model = h(
    "select",
    { id: "model", name: "model", class: "input" },
    h("option", { value: "" }, "Choose a model"),
  );
  const modelFacts = h("span", { class: "muted small model-facts" });
  const soc = numberField({ id: "soc", label: "Charge now", min: 1, max: 100, step: 1, unit: "%", placeholder: "80" });
  const arrive = numberField({
    id: "arrive-with",
    label: "Arrive with at least",
    min: 0,
    max: 100,
    step: 1,
    unit: "%",
    placeholder: "10",
  });
  const stop = numberField({
    id: "stop-with",
    label: "Reach stops with",
    min: 0,
    max: 100,
    step: 1,
    unit: "%",
    placeholder: "10",
  });
  const reference = numberField({
    id: "reference-consumption",
    label: "Reference consumption",
    min: 5,
    max: 60,
    step: 0.1,
    unit: "kWh/100 km",
    placeholder: "",
  });
  const temperature = numberField({
    id: "temperature",
    label: "Temperature outside",
    min: -40,
    max: 50,
    step: 1,
    unit: "°C",
    placeholder: "20",
  });
  const depart = h("input", { id: "depart", name: "depart", class: "input", type: "datetime-local" });
  const fahrenheit = h("span", { class: "muted small" });
  const telemetry = h("section", {
    class: "telemetry",
    id: "telemetry",
    "aria-label": "The connected car",
    hidden: true,
  });
  const cars = carList({ models: actions.models, pick: actions.pickCar, refresh: actions.listCars });
  const avoided = h("ul", { class: "avoided", "aria-label": "Avoided stations" });
  const submit = h("button", { type: "submit", class: "button button-primary plan-button" }, "Plan the trip");

  const mine = h("input", { type: "radio", name: "car", value: "mine", checked: true });
  const simulated = h("input", { type: "radio", name: "car", value: "simulated" });
  const enter = h(
    "div",
    { class: "car-enter" },
    h("label", { class: "field" }, "Model", model, modelFacts),
    soc.element,
  );
  const pickedName = h("strong", {});
  const picked = h(
    "div",
    { class: "row spread car-picked", hidden: true },
    h("p", {}, pickedName, h("br"), h("span", { class: "muted small" }, "The trip begins where the car is.")),
    h(
      "button",
      { type: "button", class: "button button-small", onclick: () => actions.leaveCar() },
      "Pick another car",
    ),
  );

  const showKind = (): void => {
    const isSimulated = simulated.checked;
    const isPicked = Boolean(question?.vehicle);
    enter.hidden = isSimulated;
    cars.element.hidden = !isSimulated || isPicked;
    picked.hidden = !isSimulated || !isPicked;
    from.element.hidden = isSimulated && isPicked;
  };
  mine.addEventListener("change", () => {
    if (question?.vehicle) actions.leaveCar();
    showKind();
  });
  simulated.addEventListener("change", () => {
    showKind();
    actions.listCars();
  });

  const showFacts = (): void => {
    const known = models.find((candidate) => candidate.ev_model_id === model.value);
    modelFacts.textContent = known
      ? [
          `${number(known.usable_kwh, known.usable_kwh % 1 ? 1 : 0)} kWh`,
          known.dc_kw ? `${power(known.dc_kw)} DC` : null,
          known.connector_types.map(connector).join(", "),
          consumption(known.consumption_kwh_per_100km),
        ]
          .filter(Boolean)
          .join(" · ")
      : "";
    showReference(model.value);
  };
  /** A field that stays empty has the model's own consumption. */
  const showReference = (id: string | null): void => {
    const own = models.find((candidate) => candidate.ev_model_id === id)?.consumption_kwh_per_100km;
    reference.input.placeholder = own ? number(own, 1) : "";
  };
  model.addEventListener("change", showFacts);
  temperature.input.addEventListener("input", () => {
    const celsius = Number.parseFloat(temperature.input.value);
    fahrenheit.textContent = Number.isFinite(celsius) ? `= ${Math.round(celsius * 1.8 + 32)} °F` : "";
  });

  const chooseModel = (id: string): void => {
    if (id && ![...model.options].some((option) => option.value === id))
      model.append(h("option", { value: id }, modelName(models, id)));
    model.value = id;
    showFacts();
  };

  const more = h(
    "details",
    { class: "trip-more" },
    h("summary", {}, "Departure, reserves, consumption and weather"),
    h("label", { class: "field" }, "Leave at (now, if it is empty)", depart),
    h("div", { class: "pair" }, arrive.element, stop.element),
    h("div", { class: "pair" }, reference.element, h("div", {}, temperature.element, fahrenheit)),
  );

  const element = h(
    "form",
    {
      class: "trip-form",
      novalidate: true,
      "aria-label": "Trip",
      onsubmit: (event: Event) => {
        event.preventDefault();
        actions.submit();
      },
    },
    h(
      "fieldset",
      { class: "car-kind" },
      h("legend", {}, "Car"),
      h("label", { class: "choice" }, mine, h("span", {}, "My car")),
      h("label", { class: "choice" }, simulated, h("span", {}, "A connected car")),
    ),
    enter,
    cars.element,
    picked,
    from.element,
    to.element,
    more,
    avoided,
    submit,
  );
  showKind();

  return {
    element,
    telemetry,
    cars,
    read: () => {
      const [start, end] = [from.value(), to.value()];
      const vehicle = simulated.checked ? (question?.vehicle ?? "") : "";
      return {
        vehicle,
        from: vehicle ? "" : start.text,
        fromName: vehicle ? "" : start.name,
        to: end.text,
        toName: end.name,
        model: vehicle ? "" : model.value,
        soc: vehicle ? "" : soc.input.value,
        arriveWith: arrive.input.value,
        stopWith: stop.input.value,
        referenceConsumption: reference.input.value,
        temperature: temperature.input.value,
        departAt: instantOf(depart.value),
        avoid: question?.avoid ?? [],
      };
    },
    write: (next) => {
      question = next;
      if (next.vehicle) simulated.checked = true;
      if (next.from) from.set(next.from, next.fromName);
      to.set(next.to, next.toName);
      if (next.model) chooseModel(next.model);
      if (next.soc) soc.input.value = next.soc;
      arrive.input.value = next.arriveWith;
      stop.input.value = next.stopWith;
      reference.input.value = next.referenceConsumption;
      temperature.input.value = next.temperature;
      temperature.input.dispatchEvent(new Event("input"));
      depart.value = localTime(next.departAt);
      if (next.arriveWith || next.stopWith || next.referenceConsumption || next.temperature || next.departAt) more.open = true;
      showKind();
    },
    setModels: (next) => {
      models = [...next].sort((a, b) => `${a.make} ${a.model}`.localeCompare(`${b.make} ${b.model}`));
      const chosen = model.value;
      model.replaceChildren(
        h("option", { value: "" }, "Choose a model"),
        ...models.map((one) => h("option", { value: one.ev_model_id }, modelName(models, one.ev_model_id))),
      );
      chooseModel(chosen);
    },
    setVehicle: (vehicle) => {
      telemetry.hidden = !vehicle;
      showReference(vehicle ? vehicle.ev_model_id : model.value);
      if (!vehicle) return;
      pickedName.textContent = modelName(models, vehicle.ev_model_id);
      showTelemetry(telemetry, vehicle, models);
    },
    complain: () => {
      const start = from.value().text;
      const end = to.value().text;
      const needsFrom = !from.element.hidden;
      from.complain(needsFrom && !start ? "Where does the trip begin?" : "");
      to.complain(end ? "" : "Where does it go?");
      for (const input of [model, soc.input]) {
        if (!enter.hidden && !input.value) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
      if (simulated.checked && !question?.vehicle) element.querySelector<HTMLElement>("#car-search")?.focus();
      else if (!enter.hidden && !model.value) model.focus();
      else if (!enter.hidden && !soc.input.value) soc.input.focus();
      else if (needsFrom && !start) from.focus();
      else if (!end) to.focus();
    },
    setAvoided: (stations) => {
      avoided.hidden = stations.length === 0;
      avoided.replaceChildren(
        ...stations.map(({ id, name }) =>
          h(
            "li",
            { "data-avoided": id },
            h("span", {}, "Without ", h("strong", {}, name)),
            h(
              "button",
              { type: "button", class: "button button-small", onclick: () => actions.allow(id) },
              "Use again",
              h("span", { class: "visually-hidden" }, ` ${name}`),
            ),
          ),
        ),
      );
    },
    setBusy: (busy) => {
      submit.disabled = busy;
      submit.textContent = busy ? "Planning…" : "Plan the trip";
    },
  };
}
