import { formatSize } from '../../core/sizes.js';
import { escapeMarkup, renderPicture } from './markup.js';

const LABEL_PX = 170;
const PLOT_PX = 560;
const VALUE_PX = 110;
const ROW_PX = 24;
const MARGIN_PX = 20;
const CHART_PX = 240;

/** A part of a bar, or a line. */
export interface Series {
  readonly name: string;
  readonly colour: string;
}

export interface Bar {
  readonly label: string;
  /** In bytes, in the order of the series. */
  readonly values: readonly number[];
}

/** Bars of sizes, each in parts, on one axis from 0. */
export function drawBars(series: readonly Series[], bars: readonly Bar[]): string {
  const total = ({ values }: Bar): number => values.reduce((sum, value) => sum + value, 0);
  const most = Math.max(1, ...bars.map(total));
  const rows = bars.map((bar, at) => {
    const y = MARGIN_PX / 2 + at * ROW_PX;
    let x = LABEL_PX;
    const parts = bar.values.map((value, part) => {
      const width = (value / most) * PLOT_PX;
      const { name, colour } = series[part] ?? { name: '', colour: '#777777' };
      const shape = `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW_PX - 6}" fill="${colour}"><title>${escapeMarkup(`${bar.label}, ${name}: ${formatSize(value)}`)}</title></rect>`;
      x += width;
      return shape;
    });
    const label = `<text x="${LABEL_PX - 8}" y="${y + 13}" text-anchor="end">${escapeMarkup(bar.label)}</text>`;
    return `${label}${parts.join('')}<text x="${(x + 6).toFixed(1)}" y="${y + 13}">${escapeMarkup(formatSize(total(bar)))}</text>`;
  });
  return renderPicture(LABEL_PX + PLOT_PX + VALUE_PX, MARGIN_PX + ROW_PX * bars.length, rows.join(''));
}

/** Powers of two below a size: as people write sizes. */
function sizeTicks(most: number): number[] {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(most / 5)));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, at) => at * step);
}

export interface Point {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** In bytes, in the order of the series; null: not known. */
  readonly values: readonly (number | null)[];
}

/** Sizes over time, a line for each series, on an axis from 0. */
export function drawLines(series: readonly Series[], points: readonly Point[]): string {
  const times = points.map(({ timeMs }) => timeMs);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const most = Math.max(1, ...points.flatMap(({ values }) => values.filter((value) => value !== null)));
  const x = (timeMs: number): number => LABEL_PX + (last === first ? PLOT_PX / 2 : ((timeMs - first) / (last - first)) * PLOT_PX);
  const y = (value: number): number => MARGIN_PX + CHART_PX * (1 - Math.max(0, value) / most);
  const grid = sizeTicks(most).map((size) => {
    const at = y(size).toFixed(1);
    return `<line x1="${LABEL_PX}" x2="${LABEL_PX + PLOT_PX}" y1="${at}" y2="${at}" stroke="#eeeeee"/><text x="${LABEL_PX - 8}" y="${at}" text-anchor="end">${escapeMarkup(formatSize(size))}</text>`;
  });
  const ends = [first, last].map((time, at) => `<text x="${x(time).toFixed(1)}" y="${MARGIN_PX * 2 + CHART_PX}" text-anchor="${at === 0 ? 'start' : 'end'}">${escapeMarkup(new Date(time).toISOString().slice(0, 16).replace('T', ' '))}</text>`);
  const lines = series.map(({ name, colour }, at) => {
    const known = points.flatMap(({ timeMs, values }) => {
      const value = values[at];
      return value === undefined || value === null ? [] : [{ timeMs, value }];
    });
    const way = known.map(({ timeMs, value }) => `${x(timeMs).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const dots = known.map(({ timeMs, value }) => `<circle cx="${x(timeMs).toFixed(1)}" cy="${y(value).toFixed(1)}" r="2.5" fill="${colour}"><title>${escapeMarkup(`${name}: ${formatSize(value)}, ${new Date(timeMs).toISOString()}`)}</title></circle>`);
    return `<polyline points="${way}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join('')}`;
  });
  return renderPicture(LABEL_PX + PLOT_PX + VALUE_PX, CHART_PX + MARGIN_PX * 3, `${grid.join('')}${ends.join('')}${lines.join('')}`);
}
