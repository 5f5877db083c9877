import { formatSize } from '../../src/core/sizes.js';
import { formatDuration, formatPercent, formatRatio, isWithinNoise } from './numbers.js';
import type { BenchResult, DescribedScenario } from './result.js';
import { summarize, type MeasurementSummary, type SlotSummary } from './summarize.js';
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
  return [`  requests of ${slot.slot.name} in one run: ${[String(total), ...named].join(', ')}`];
}

function ratioCell(slot: SlotSummary, noise: number): string {
  if (slot.slot.role === 'reference') return '1';
  const near = slot.slot.role === 'peer' && isWithinNoise(slot.toReference.ratio, noise);
  return `${near ? '≈ ' : ''}${formatRatio(slot.toReference)}`;
}

function subjectCell(slot: SlotSummary, subject: string): string {
  return slot.slot.peer === subject || slot.subjectTo === undefined ? '' : formatRatio(slot.subjectTo);
}

/** Everything about one measurement. */
export function renderMeasurement(summary: MeasurementSummary, scenario: DescribedScenario, subject: string): string {
  const { measurement, slots, noise } = summary;
  const reference = slots.find(({ slot }) => slot.role === 'reference')?.slot.name ?? 'reference';
  const withSubject = slots.some((slot) => slot.slot.peer === subject && slot.slot.role === 'peer');
  const rows = [
    ['', 'median', 'quartiles', `/ ${reference}`, ...(withSubject ? [`${subject} / it`] : [])],
    ...slots.map((slot) => [
      slot.slot.role === 'again' ? `${slot.slot.peer} again` : slot.slot.name,
      formatDuration(slot.medianNs),
      `${formatDuration(slot.firstQuartileNs)} – ${formatDuration(slot.thirdQuartileNs)}`,
      ratioCell(slot, noise),
      ...(withSubject ? [subjectCell(slot, subject)] : []),
    ]),
  ];
  return [
    `${measurement.scenario}, ${measurement.cache}: ${scenario.what}${describeWork(measurement.work)}`,
    textTable(rows, '  '),
    `  noise of this run: ${formatPercent(noise)} (${reference} against itself; ≈ marks what is within it)`,
    ...slots.flatMap(describeRequests),
  ].join('\n');
}

/** One line a measurement, in Markdown, for documents. */
export function renderOverview(result: BenchResult, summaries: readonly MeasurementSummary[], subject: string): string {
  const reference = result.slots.find((slot) => slot.role === 'reference')?.name ?? 'reference';
  const peers = result.slots.filter((slot) => slot.role === 'peer' && slot.peer !== subject).map((slot) => slot.name);
  const hasSubject = result.slots.some((slot) => slot.name === subject);
  const titles = [
    'scenario',
    reference,
    'noise',
    ...peers.map((name) => `${name} / ${reference}`),
    ...(hasSubject ? [`**${subject} / ${reference}**`, ...peers.map((name) => `${subject} / ${name}`)] : []),
  ];
  const rows = summaries.map(({ measurement, slots, noise }) => {
    const of = (name: string): SlotSummary | undefined => slots.find(({ slot }) => slot.name === name);
    const ratio = (text: SlotSummary | undefined, key: 'toReference' | 'subjectTo'): string => {
      const value = text?.[key];
      return value === undefined ? '–' : formatRatio(value);
    };
    return [
      `${measurement.scenario}, ${measurement.cache}`,
      formatDuration(of(reference)?.medianNs ?? NaN),
      formatPercent(noise),
      ...peers.map((name) => ratio(of(name), 'toReference')),
      ...(hasSubject ? [`**${ratio(of(subject), 'toReference')}**`, ...peers.map((name) => ratio(of(name), 'subjectTo'))] : []),
    ];
  });
  return [titles, titles.map((_, column) => (column === 0 ? '---' : '---:')), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function renderConditions(result: BenchResult): string {
  const { machine, input } = result;
  const memory = formatSize(machine.memoryBytes);
  const lines = [
    `${result.date.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${memory} of memory, Linux ${machine.kernel}, load ${machine.load.toFixed(1)} at the start` +
      (machine.commit === undefined ? '' : `, commit ${machine.commit}`),
    `volume: ${result.volume}`,
    `root: ${input.name}, ${input.files} files in ${input.folders} folders, ${formatSize(input.bytes)}; ${result.runs} rounds, order rotated`,
    '',
    ...result.peers.map((peer) => `${peer.name}: ${peer.what}\n    caching: ${peer.caching}\n    durability: ${peer.durability}`),
    ...result.skipped.map(({ peer, reason }) => `${peer}: not measured: ${reason}`),
  ];
  return lines.join('\n');
}

/** The whole result for people: conditions, one block a measurement, the overview. */
export function renderResult(result: BenchResult, subject: string): string {
  const summaries = result.measurements.map((measurement) => summarize(result, measurement, subject));
  const blocks = summaries.map((summary) => {
    const scenario = result.scenarios.find(({ name }) => name === summary.measurement.scenario);
    return renderMeasurement(summary, scenario ?? { name: summary.measurement.scenario, what: '', meaning: '' }, subject);
  });
  const legend = 'Ratios are those of medians, lower is better, with the interval of 95 % (bootstrap over rounds).';
  return `${[renderConditions(result), legend, ...blocks, renderOverview(result, summaries, subject)].join('\n\n')}\n`;
}
