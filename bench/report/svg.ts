import { escapeMarkup, renderPicture } from '../../src/cli/report/markup.js';
import type { MeasurementSummary, SlotSummary } from './summarize.js';
import { formatFactor, formatPercent } from './numbers.js';

const COLOURS: Readonly<Record<string, string>> = {
  host: '#777777',
  'overlayfs-metacopy': '#9ecae1',
  'overlayfs-volatile': '#6baed6',
  'fuse-overlayfs': '#e6550d',
  'unionfs-fuse': '#b8860b',
  'fuse-native': '#9467bd',
  templatefs: '#2ca02c',
};

export function colourOf(slot: string): string {
  return COLOURS[slot] ?? '#1f77b4';
}

const LABEL_PX = 250;
const PLOT_PX = 560;
const ROW_PX = 26;
const MARGIN_PX = 24;

/** Ratios on a logarithmic axis: twice as fast is as far from 1 as twice as slow. */
export class RatioAxis {
  readonly #low: number;
  readonly #high: number;

  /** @param ratios what is to be shown; 1 always is */
  constructor(ratios: readonly number[]) {
    const shown = ratios.filter((ratio) => ratio > 0 && ratio < Infinity);
    this.#low = Math.log(Math.min(0.5, ...shown) * 0.9);
    this.#high = Math.log(Math.max(2, ...shown) * 1.1);
  }

  /** @returns pixels from the left, within the picture for any ratio */
  at(ratio: number): number {
    const share = (Math.log(Math.max(ratio, 1e-6)) - this.#low) / (this.#high - this.#low);
    return LABEL_PX + PLOT_PX * Math.min(1, Math.max(0, share));
  }

  /** Round ratios within the picture. */
  get ticks(): number[] {
    const all = [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300, 1000];
    return all.filter((ratio) => Math.log(ratio) >= this.#low && Math.log(ratio) <= this.#high);
  }
}

function drawSlot(slot: SlotSummary, axis: RatioAxis, y: number, subject: string): string {
  const { ratio, low, high } = slot.toReference;
  const colour = colourOf(slot.slot);
  const interval = high === Infinity ? '' : `<line x1="${axis.at(low).toFixed(1)}" x2="${axis.at(high).toFixed(1)}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="2" opacity="0.6"/>`;
  const radius = slot.slot === subject ? 6 : 4;
  const title = `${slot.slot}: ${formatFactor(ratio)}${high === Infinity ? '' : ` (${formatFactor(low)}–${formatFactor(high)})`}`;
  return `${interval}<circle cx="${axis.at(ratio).toFixed(1)}" cy="${y}" r="${radius}" fill="${colour}"><title>${escapeMarkup(title)}</title></circle>`;
}

function drawRow(summary: MeasurementSummary, axis: RatioAxis, y: number, subject: string): string {
  const noise = Number.isFinite(summary.noise) ? summary.noise : 0;
  const [left, right] = [axis.at(1 / (1 + noise)), axis.at(1 + noise)];
  const band = noise === 0 ? '' : `<rect x="${left.toFixed(1)}" y="${y - 9}" width="${(right - left).toFixed(1)}" height="18" fill="#dddddd"><title>noise ${formatPercent(noise)}</title></rect>`;
  const label = `<text x="${LABEL_PX - 10}" y="${y + 4}" text-anchor="end">${escapeMarkup(summary.title)}</text>`;
  const peers = summary.slots.filter(({ role }) => role === 'peer');
  // The subject last, so that nothing hides it.
  const ordered = [...peers.filter(({ slot }) => slot !== subject), ...peers.filter(({ slot }) => slot === subject)];
  return `${label}${band}${ordered.map((slot) => drawSlot(slot, axis, y, subject)).join('')}`;
}

/**
 * One picture for one group of scenarios: a line each, with each peer's ratio to the reference as a dot with its interval, on a
 * logarithmic axis; grey is the noise of the reference against itself.
 */
export function drawRatios(summaries: readonly MeasurementSummary[], subject: string): string {
  const axis = new RatioAxis(summaries.flatMap(({ slots }) => slots.filter(({ role }) => role === 'peer').map(({ toReference }) => toReference.ratio)));
  const height = MARGIN_PX * 2 + ROW_PX * summaries.length;
  const width = LABEL_PX + PLOT_PX + MARGIN_PX;
  const ticks = axis.ticks.map((ratio) => {
    const x = axis.at(ratio).toFixed(1);
    return `<line x1="${x}" x2="${x}" y1="${MARGIN_PX}" y2="${height - MARGIN_PX}" stroke="${ratio === 1 ? '#000000' : '#eeeeee'}"/><text x="${x}" y="${height - 6}" text-anchor="middle">${ratio}</text>`;
  });
  const rows = summaries.map((summary, at) => drawRow(summary, axis, MARGIN_PX + ROW_PX * (at + 0.5), subject));
  return renderPicture(width, height, `${ticks.join('')}${rows.join('')}`);
}
