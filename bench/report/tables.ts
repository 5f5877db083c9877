import { formatSize } from '../../src/core/sizes.js';
import { formatFactor, formatPercent, formatRatio, formatValue, isWithinNoise } from './numbers.js';
import type { BenchResult } from './result.js';
import { slotOf, summarize, type MeasurementSummary, type SlotSummary } from './summarize.js';
import { outcomeOf, rivalOutcomeOf } from './targets.js';
import { textTable } from './text-table.js';

function describeWork(work: Readonly<Record<string, number>>): string {
  const parts = Object.entries(work).map(([name, count]) => (name === 'bytes' ? formatSize(count) : `${count} ${name}`));
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

function describeRequests(slot: SlotSummary): string[] {
  if (slot.requests === undefined) return [];
  const counts = Object.entries(slot.requests).sort(([, a], [, b]) => b - a);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  const named = counts.slice(0, 6).map(([name, count]) => `${name} ${count}`);
  return [`  requests of ${slot.slot} in one run: ${[String(total), ...named].join(', ')}`];
}

function ratioCell(slot: SlotSummary, noise: number): string {
  if (slot.role === 'reference') return '1';
  const near = slot.role === 'peer' && noise !== Infinity && isWithinNoise(slot.toReference.ratio, noise);
  return `${near ? '≈ ' : ''}${formatRatio(slot.toReference)}`;
}

/** Everything about one measurement. */
export function renderMeasurement(summary: MeasurementSummary, all: readonly MeasurementSummary[], subject: string): string {
  const { measurement, scenario, title, slots, noise } = summary;
  const { reference, per } = measurement;
  const withSubject = slotOf(summary, subject) !== undefined;
  const value = (number: number): string => formatValue(measurement, number);
  const rows = [
    ['', per === null ? 'median' : `median / ${per}`, 'quartiles', `/ ${reference}`, ...(withSubject ? [`${subject} / it`] : [])],
    ...slots.map((slot) => [
      slot.role === 'again' ? `${reference} again` : slot.slot,
      value(slot.median),
      slot.rounds === 1 ? 'one round' : `${value(slot.firstQuartile)} – ${value(slot.thirdQuartile)}`,
      ratioCell(slot, noise),
      ...(withSubject ? [slot.slot === subject || slot.subjectTo === undefined ? '' : formatRatio(slot.subjectTo)] : []),
    ]),
  ];
  const outcomes = [outcomeOf(summary, all, subject), rivalOutcomeOf(summary)].filter((outcome) => outcome !== undefined);
  return [
    `${title}: ${scenario.what}${describeWork(measurement.work)}`,
    `  for: ${scenario.meaning}; durability: ${scenario.durability}`,
    textTable(rows, '  '),
    `  noise of this run: ${formatPercent(noise)} (${reference} against itself; ≈ marks what is within it)`,
    ...outcomes.map((outcome) => `  target ${outcome.title}: at most ${outcome.wanted}; ${outcome.met ? 'met' : 'MISSED'}: ${outcome.found}`),
    ...slots.flatMap(describeRequests),
  ].join('\n');
}

/** The peers that have a column, in the order of their first appearance; forms of one peer have none. */
function columnsOf(summaries: readonly MeasurementSummary[], subject: string): string[] {
  const names = summaries.flatMap(({ slots }) => slots.filter(({ role }) => role === 'peer').map(({ slot }) => slot));
  const isForm = (name: string): boolean => name.startsWith('overlayfs-');
  return [...new Set(names)].filter((name) => name !== subject && !isForm(name));
}

/** One line a measurement, in Markdown, for documents. */
export function renderOverview(summaries: readonly MeasurementSummary[], subject: string): string {
  const peers = columnsOf(summaries, subject);
  const hasSubject = summaries.some((summary) => slotOf(summary, subject) !== undefined);
  const titles = ['scenario', 'overlayfs', 'noise', ...peers, ...(hasSubject ? [`**${subject}**`, 'target', `${subject} / fuse-overlayfs`] : [])];
  const rows = summaries.map((summary) => {
    const { measurement, noise } = summary;
    const ratio = (name: string): string => {
      const slot = slotOf(summary, name);
      return slot === undefined ? '–' : slot.role === 'reference' ? '1' : formatFactor(slot.toReference.ratio);
    };
    const reference = slotOf(summary, measurement.reference);
    const found = slotOf(summary, subject);
    const outcome = outcomeOf(summary, summaries, subject);
    const rival = rivalOutcomeOf(summary);
    return [
      summary.title,
      `${reference === undefined ? '–' : formatValue(measurement, reference.median)}${measurement.reference === 'overlayfs' ? '' : ` (${measurement.reference})`}`,
      formatPercent(noise),
      ...peers.map(ratio),
      ...(hasSubject
        ? [
            found === undefined ? '–' : `**${formatRatio(found.toReference)}**`,
            outcome === undefined ? '–' : `${outcome.wanted}: ${outcome.met ? 'met' : `**missed** (${outcome.found})`}`,
            rival === undefined ? '–' : `${formatFactor(rival.ratio.ratio)}${rival.met ? '' : ' **missed**'}`,
          ]
        : []),
    ];
  });
  return [titles, titles.map((_, column) => (column === 0 ? '---' : '---:')), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** Date and machine, in one line. */
export function renderMachine(result: BenchResult): string {
  const { machine } = result;
  return (
    `${result.date.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${formatSize(machine.memoryBytes)} of memory, Linux ${machine.kernel}, ` +
    `load ${machine.load.toFixed(1)} at the start${machine.commit === undefined ? '' : `, commit ${machine.commit}`}${result.quick ? ', --quick' : ''}`
  );
}

function renderConditions(result: BenchResult): string {
  const { input } = result;
  const lines = [
    renderMachine(result),
    `volume: ${result.volume}`,
    `root: ${input.name}, ${input.files} files in ${input.folders} folders, ${formatSize(input.bytes)}; order of peers rotated; ${result.durationSeconds} s`,
    '',
    ...result.peers.map((peer) => `${peer.name}: ${peer.what}\n    caching: ${peer.caching}\n    durability: ${peer.durability}`),
    ...result.skipped.map(({ what, reason, failed }) => `${what}: not measured: ${failed ? 'FAILED: ' : ''}${reason}`),
    ...result.scenarios.flatMap(({ name, leftOut }) => leftOut.map(({ peer, reason }) => `${name}: without ${peer}: ${reason}`)),
  ];
  return lines.join('\n');
}

export const LEGEND = 'Ratios are those of medians to the reference (kernel overlayfs, if nothing else is said), lower is better, with the interval of 95 % (bootstrap over rounds).';

export function summarizeAll(result: BenchResult, subject: string): MeasurementSummary[] {
  return result.measurements.map((measurement) => summarize(result, measurement, subject));
}

/** The whole result for people: conditions, one block a measurement, the overview. */
export function renderResult(result: BenchResult, subject: string): string {
  const summaries = summarizeAll(result, subject);
  const blocks = summaries.map((summary) => renderMeasurement(summary, summaries, subject));
  return `${[renderConditions(result), LEGEND, ...blocks, renderOverview(summaries, subject)].join('\n\n')}\n`;
}
