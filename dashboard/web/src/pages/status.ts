/** How current every feed and store is. It asks again every five seconds and moves neither focus nor scroll. */
import { age, banner, get, h, learnServerTime, sentence, type Shell } from "../shell";
import type { StatusAnswer } from "./status/answer";
import { diskGrade, gradeOf, summary } from "./status/grade";
import { morph } from "../lib/morph";
import {
  comingSection,
  diskSection,
  feedsSection,
  headline,
  lakeSection,
  linksSection,
  storesNow,
  storesSection,
  warehouseSection,
} from "./status/parts";

const REFRESH_MS = 5_000;

export function start(main: HTMLElement, shell: Shell): void {
  const overall = h("p", { class: "headline", role: "status", "aria-live": "polite", id: "overall" }, "Asking…");
  const asked = h("p", { class: "muted asked" });
  const parts = h("div", { class: "status-grid" });
  const page = h(
    "div",
    { class: "page page-status" },
    h("div", { class: "page-head" }, h("h1", {}, "Status"), asked),
    overall,
    parts,
  );
  main.append(page);

  let timer = 0;
  const ask = async (): Promise<void> => {
    clearTimeout(timer);
    try {
      const answer = await get<StatusAnswer>("/status");
      learnServerTime(answer.now, 0);
      show(answer);
      banner(page, "answer", "");
    } catch (error) {
      banner(page, "answer", `${sentence(error)} What you see is what was known before.`, "bad");
      if (!parts.childElementCount) headline(overall, "bad", "The dashboard's server gives no status");
    }
    document.documentElement.dataset["ready"] = "status";
    timer = setTimeout(() => void (document.hidden || ask()), REFRESH_MS);
  };

  const show = (answer: StatusAnswer): void => {
    const stores = storesNow(answer.stores, answer.coming);
    const { grade, text } = summary([
      ...stores.map((store) => ({ name: store.name, grade: gradeOf(store.state) })),
      ...answer.feeds.map((feed) => ({ name: `the feed “${feed.name}”`, grade: gradeOf(feed.state) })),
      ...(answer.lake.parked.length ? [{ name: "a parked range", grade: "bad" as const }] : []),
      { name: "the disk", grade: diskGrade(answer.disk) },
      ...answer.coming.map((item) => ({ name: item.what, grade: "coming" as const })),
    ]);
    headline(overall, grade, text);
    asked.replaceChildren(age(answer.now, "asked "));
    banner(page, "note", answer.note ?? "");
    const fresh = h(
      "div",
      { class: "status-grid" },
      comingSection(answer.coming, stores),
      feedsSection(answer.feeds),
      storesSection(stores),
      lakeSection(answer.lake),
      warehouseSection(answer.warehouse),
      diskSection(answer.disk),
      linksSection(answer.links),
    );
    morph(parts, fresh);
    const sessions = answer.feeds.find((feed) => feed.topic === "session-events");
    shell.setFresh(
      sessions ? { state_as_of: sessions.as_of, age_s: sessions.age_s, stale: sessions.state !== "current" } : null,
    );
  };

  document.addEventListener("visibilitychange", () => void (document.hidden || ask()));
  void ask();
}
