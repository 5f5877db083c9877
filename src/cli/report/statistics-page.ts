import { formatSize } from '../../core/sizes.js';
import type { Statistics } from '../../service/statistics.js';
import type { Sample } from '../../service/statistics-samples.js';
import type { TopObject, TopStatistics } from '../../service/top-statistics.js';
import { colourDot, escapeMarkup, renderDocument, tableRow } from './markup.js';
import { drawBars, drawLines, type Series } from './plots.js';

const TEMPLATE = { name: 'from the template', colour: '#1f77b4' };
const LINKED = { name: 'links', colour: '#2ca02c' };
const OWN = { name: 'its own', colour: '#e6550d' };
const STORED = { name: 'on the disk', colour: '#e6550d' };
const LOGICAL = { name: 'as separate copies', colour: '#777777' };
const CACHED = { name: 'page cache', colour: '#9467bd' };
/** More bars than this nobody reads; the table has all. */
const MOST_BARS = 60;

function legend(series: readonly Series[]): string {
  return `<p>${series.map(({ name, colour }) => `${colourDot(colour)}${escapeMarkup(name)}`).join(' &nbsp; ')}</p>`;
}

function size(bytes: number): string {
  return escapeMarkup(formatSize(bytes));
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  return `<table>${[tableRow(titles, 'th'), ...rows.map((row) => tableRow(row))].join('\n')}</table>`;
}

function summary({ disk, memory }: Statistics): string {
  return table(
    ['', 'without sharing', 'with templatefs', 'saved', 'ratio'],
    [
      ['disk', size(disk.logicalBytes), size(disk.storedBytes), size(disk.savedBytes), disk.ratio === null ? '–' : disk.ratio.toFixed(2)],
      ...(memory === null ? [] : [['page cache', size(memory.withoutSharingBytes), size(memory.residentBytes), size(memory.savedBytes), memory.residentBytes === 0 ? '–' : (memory.withoutSharingBytes / memory.residentBytes).toFixed(2)]]),
    ],
  );
}

function trend(samples: readonly Sample[]): string[] {
  if (samples.length < 2) return ['<p>There are too few samples for a trend: `templatefs stats`, `link` and `gc` take them.</p>'];
  const series = [LOGICAL, STORED, CACHED];
  return [legend(series), drawLines(series, samples.map((one) => ({ timeMs: Date.parse(one.taken), values: [one.logicalBytes, one.storedBytes, one.residentBytes] })))];
}

function containers({ containers: all }: Statistics): string[] {
  const series = [TEMPLATE, LINKED, OWN];
  const bars = [...all].sort((a, b) => b.ownBytes - a.ownBytes).slice(0, MOST_BARS);
  return [
    legend(series),
    drawBars(series, bars.map((one) => ({ label: one.name, values: [one.templateBytes, one.linkedBytes, one.ownBytes] }))),
    table(
      ['container', 'shows', 'from the template', 'links', 'its own', 'private on the disk', 'page cache', 'its share of it'],
      all.map((one) => [escapeMarkup(one.name), ...[one.logicalBytes, one.templateBytes, one.linkedBytes, one.ownBytes, one.privateBytes].map(size), one.memory === null ? '–' : size(one.memory.residentBytes), one.memory === null ? '–' : size(one.memory.proportionalBytes)]),
    ),
  ];
}

function objects(rows: readonly TopObject[]): string {
  return table(['object', 'size', 'containers', 'saves'], rows.map((one) => [`<code>${escapeMarkup(one.object)}</code> ${escapeMarkup(one.where ?? '')}`, size(one.sizeBytes), String(one.containers), size(one.savedBytes)]));
}

function tops(top: TopStatistics): string[] {
  return [
    '<h2>Most shared</h2>',
    objects(top.mostSharedObjects),
    '<h2>Largest</h2>',
    objects(top.largestObjects),
    '<h2>Most private</h2>',
    table(['file', 'size', 'on the disk'], top.mostPrivate.map((one) => [escapeMarkup(`${one.container}:${one.path}`), size(one.sizeBytes), size(one.allocatedBytes)])),
    '<h2>Worth a look</h2>',
    '<p>Private files that have the size and the ends of another: <code>templatefs link --all</code> compares them and shares those that are equal.</p>',
    table(['files', 'size', 'would save'], top.duplicates.map((one) => [one.files.map(({ container, path }) => escapeMarkup(`${container}:${path}`)).join('<br>'), size(one.sizeBytes), size(one.wouldSaveBytes)])),
  ];
}

/** The page of `stats --html`. */
export function renderStatisticsPage({ store, now, statistics, samples, top }: { store: string; now: Date; statistics: Statistics; samples: readonly Sample[]; top: TopStatistics }): string {
  const memory = statistics.memory;
  return renderDocument('templatefs: what sharing saves', [
    `<p>${escapeMarkup(store)}, ${statistics.containers.length} containers, ${escapeMarkup(now.toISOString())}</p>`,
    summary(statistics),
    '<h2>Trend</h2>',
    ...trend(samples),
    '<h2>On the disk</h2>',
    drawBars([{ name: 'bytes', colour: STORED.colour }], [
      { label: 'objects', values: [statistics.disk.objectBytes] },
      { label: 'trees', values: [statistics.disk.treeBytes] },
      { label: 'private areas', values: [statistics.disk.privateBytes] },
      { label: 'snapshots', values: [statistics.disk.snapshotBytes] },
    ]),
    '<h2>In memory</h2>',
    ...(memory === null || memory.byContainers.length === 0
      ? ['<p>No container is mounted, or nobody looked.</p>']
      : [
          '<p>Page cache of objects, by how many mounted containers use them.</p>',
          drawBars([{ name: 'page cache', colour: CACHED.colour }], memory.byContainers.map((one) => ({ label: `${one.containers} containers`, values: [one.residentBytes] }))),
        ]),
    '<h2>Containers</h2>',
    ...containers(statistics),
    ...tops(top),
  ]);
}
