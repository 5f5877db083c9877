import { describe, expect, test } from 'vitest';
import { replaceTable } from '../../../bench/report/document.js';
import { renderPage } from '../../../bench/report/page.js';
import { drawRatios, RatioAxis } from '../../../bench/report/svg.js';
import { summarizeAll } from '../../../bench/report/tables.js';
import { measurementOf, resultOf } from './bench-fakes.js';

const VALUES = { host: [80, 82, 81], overlayfs: [100, 104, 102], 'overlayfs-again': [101, 105, 103], 'fuse-overlayfs': [300, null, null], templatefs: [50, 52, 51] };
const RESULT = resultOf([measurementOf(VALUES), measurementOf(VALUES, { variant: 'a < b' })]);

describe('the axis of ratios', () => {
  const axis = new RatioAxis([0.25, 4]);

  test('puts half and double at the same distance from 1', () => {
    expect(axis.at(1) - axis.at(0.5)).toBeCloseTo(axis.at(2) - axis.at(1));
    expect(axis.ticks).toEqual([0.5, 1, 2]);
  });

  test('keeps what does not fit within the picture', () => {
    expect(axis.at(0)).toBe(axis.at(0.0001));
    expect(axis.at(Infinity)).toBeLessThan(1000);
  });
});

test('a plot has a line for each measurement, a dot for each peer, and no raw text', () => {
  const svg = drawRatios(summarizeAll(RESULT, 'templatefs'), 'templatefs');
  expect(svg.match(/<circle /g)).toHaveLength(6);
  expect(svg).toContain('>read-root, a &lt; b</text>');
  expect(svg).toContain('<title>fuse-overlayfs: 3.00</title>');
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

test('the page is one file: figures, durability, what was left out; nothing from elsewhere', () => {
  const page = renderPage(RESULT, 'templatefs');
  for (const part of ['2030-01-02, 2 cores (a CPU)', 'read-root, cold', '<svg ', 'this &lt;project&gt;', 'nothing is written', 'unionfs-fuse: not installed', 'one round']) expect(page).toContain(part);
  expect(page).not.toMatch(/(src|href)=/);
});

describe('the table in a document', () => {
  const BEGIN = '<!-- bench: begin; written by npm run bench -- --document FILE -->';

  test('stands between its marks, and what is around them stays', () => {
    const text = `a\n${BEGIN}\nold\n<!-- bench: end -->\nb\n`;
    const once = replaceTable(text, '| new |', 'x.md');
    expect(once).toBe(`a\n${BEGIN}\n| new |\n<!-- bench: end -->\nb\n`);
    expect(replaceTable(once, '| new |', 'x.md')).toBe(once);
  });

  test('needs the marks', () => {
    expect(() => replaceTable('no marks', '', 'x.md')).toThrow('x.md has no place for the table');
  });
});
