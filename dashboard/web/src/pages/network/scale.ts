/** The colours of a heatmap. */

/** The step of a heatmap's colour, 0 to `steps`. Zero is a step of its own; null where nothing is known. */
export function level(value: number | null, highest: number, steps = 6): number | null {
  if (value === null || !Number.isFinite(value)) return null;
  if (value <= 0 || !(highest > 0)) return 0;
  return Math.max(1, Math.min(steps, Math.ceil((value / highest) * steps)));
}

/** The value below which `share` of the values lie: one extreme does not bleach the rest of a heatmap. */
export function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}
