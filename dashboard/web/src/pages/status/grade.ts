/** How good a state is. Its word, icon and colour follow, so that colour never stands alone. */

import type { Disk } from "./answer";

export type Grade = "good" | "warn" | "bad" | "coming" | "none";

const WORDS: Record<Exclude<Grade, "none">, readonly string[]> = {
  good: ["up", "current"],
  warn: ["behind", "unknown"],
  bad: ["down", "failing", "parked"],
  coming: ["waits", "fetching", "building", "starting", "loading"],
};

export function gradeOf(state: string | null | undefined): Grade {
  const word = (state ?? "").trim().toLowerCase();
  for (const [grade, words] of Object.entries(WORDS)) {
    if (words.includes(word)) return grade as Grade;
  }
  return "none";
}

/** Bad below the reserve, which stops the platform; a tenth of the disk, or 5 GB, says so before. */
export function diskGrade(disk: Omit<Disk, "home_bytes">): Grade {
  const { free_bytes: free, total_bytes: total } = disk;
  if (free === null || total === null || total <= 0) return "none";
  if (free < disk.reserve_bytes) return "bad";
  return free < 5e9 || free / total < 0.1 ? "warn" : "good";
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let amount = value;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${amount.toFixed(unit > 2 && amount < 100 ? 1 : 0)} ${units[unit]}`;
}

/** The headline over everything: what needs a look, by name. */
export function summary(items: { name: string; grade: Grade }[]): { grade: Grade; text: string } {
  const named = (grade: Grade) => [...new Set(items.filter((item) => item.grade === grade).map((item) => item.name))];
  const [bad, warn, coming] = [named("bad"), named("warn"), named("coming")];
  if (bad.length) return { grade: "bad", text: `${list(bad)} ${bad.length === 1 ? "needs" : "need"} help` };
  if (warn.length) return { grade: "warn", text: `${list(warn)} ${warn.length === 1 ? "needs" : "need"} a look` };
  if (coming.length) return { grade: "coming", text: `${list(coming)} still to come; the rest is up` };
  return { grade: "good", text: "Everything is up and current" };
}

function list(names: string[]): string {
  const text =
    names.length > 3
      ? `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`
      : names.length < 2
        ? names.join("")
        : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  // names of programs keep their own first letter
  return text.replace(/^(the|a) /, (word) => word.charAt(0).toUpperCase() + word.slice(1));
}
