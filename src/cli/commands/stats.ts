import { Command, InvalidArgumentError } from 'commander';
import { TemplatefsError, errnoOf } from '../../core/errors.js';
import { formatSize } from '../../core/sizes.js';
import type { Statistics } from '../../service/statistics.js';
import type { Sample } from '../../service/statistics-samples.js';
import type { TopObject, TopStatistics } from '../../service/top-statistics.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields, formatTable } from '../output.js';
import type { Session } from '../session.js';

interface StatsOptions {
  readonly exact?: boolean;
  readonly memory: boolean;
  readonly top?: string | boolean;
  readonly trend?: boolean;
  readonly prometheus?: boolean;
  readonly html?: string;
}

const DEFAULT_TOP = 10;

function memoryText(memory: Statistics['memory']): string {
  if (memory === null) return '';
  return [
    '\nMemory (page cache of shared files)\n',
    formatFields([
      ['  without sharing', formatSize(memory.withoutSharingBytes)],
      ['  with templatefs', formatSize(memory.residentBytes)],
      ['  saved', formatSize(memory.savedBytes)],
      ...memory.byContainers.map((one) => [`  used by ${one.containers}`, `${formatSize(one.residentBytes)} in ${one.objects} files`] as const),
    ]),
  ].join('');
}

function exactText(exact: Statistics['exact']): string {
  if (exact === undefined) return '';
  if (exact.agrees) return '\nEverything was counted, and is as it was kept.\n';
  return `\nEverything was counted. What was kept differed:\n${exact.differences.map(({ what, keptBytes, countedBytes }) => `  ${what}: ${keptBytes}, counted ${countedBytes}\n`).join('')}`;
}

function statsText(statistics: Statistics): string {
  const { disk, memory, containers, exact } = statistics;
  const ratio = disk.ratio === null ? '' : ` (ratio ${disk.ratio.toFixed(2)})`;
  return [
    'Disk\n',
    formatFields([
      ['  without sharing', formatSize(disk.logicalBytes)],
      ['  with templatefs', formatSize(disk.storedBytes)],
      ['  saved', `${formatSize(disk.savedBytes)}${ratio}`],
      ['  objects, trees', `${formatSize(disk.objectBytes)}, ${formatSize(disk.treeBytes)}`],
      ['  private areas', formatSize(disk.privateBytes)],
      ['  snapshots', disk.snapshotBytes === 0 ? null : formatSize(disk.snapshotBytes)],
    ]),
    memoryText(memory),
    '\n',
    formatTable(
      containers,
      [
        { title: 'CONTAINER', value: ({ name }) => name },
        { title: 'LOGICAL', value: ({ logicalBytes }) => formatSize(logicalBytes), align: 'right' },
        { title: 'TEMPLATE', value: ({ templateBytes }) => formatSize(templateBytes), align: 'right' },
        { title: 'LINKED', value: ({ linkedBytes }) => formatSize(linkedBytes), align: 'right' },
        { title: 'OWN', value: ({ ownBytes }) => formatSize(ownBytes), align: 'right' },
        { title: 'PRIVATE', value: ({ privateBytes }) => formatSize(privateBytes), align: 'right' },
        { title: 'LINKS', value: ({ links }) => String(links), align: 'right' },
        { title: 'CACHED', value: (one) => (one.memory === null ? '-' : formatSize(one.memory.residentBytes)), align: 'right' },
        { title: 'SHARE', value: (one) => (one.memory === null ? '-' : formatSize(one.memory.proportionalBytes)), align: 'right' },
      ],
      'There are no containers.',
    ),
    exactText(exact),
  ].join('');
}

function objectsText(title: string, rows: readonly TopObject[]): string {
  return `${title}\n${formatTable(
    rows,
    [
      { title: 'OBJECT', value: ({ object }) => object },
      { title: 'SIZE', value: ({ sizeBytes }) => formatSize(sizeBytes), align: 'right' },
      { title: 'CONTAINERS', value: ({ containers }) => String(containers), align: 'right' },
      { title: 'SAVES', value: ({ savedBytes }) => formatSize(savedBytes), align: 'right' },
      { title: 'WHERE', value: ({ where }) => where ?? '-' },
    ],
    'None.',
  )}`;
}

function topText(top: TopStatistics): string {
  return [
    objectsText('Largest objects', top.largestObjects),
    objectsText('Most shared objects', top.mostSharedObjects),
    `Most private files\n${formatTable(
      top.mostPrivate,
      [
        { title: 'ON DISK', value: ({ allocatedBytes }) => formatSize(allocatedBytes), align: 'right' },
        { title: 'SIZE', value: ({ sizeBytes }) => formatSize(sizeBytes), align: 'right' },
        { title: 'FILE', value: ({ container, path }) => `${container}:${path}` },
      ],
      'None.',
    )}`,
    `Worth a look: these look equal; \`templatefs link --all\` finds out\n${formatTable(
      top.duplicates,
      [
        { title: 'WOULD SAVE', value: ({ wouldSaveBytes }) => formatSize(wouldSaveBytes), align: 'right' },
        { title: 'LIKE OBJECT', value: ({ object }) => object ?? '-' },
        { title: 'FILES', value: ({ files }) => files.map(({ container, path }) => `${container}:${path}`).join(' ') },
      ],
      'None.',
    )}`,
  ].join('\n');
}

function trendText(samples: readonly Sample[]): string {
  return formatTable(
    samples,
    [
      { title: 'TAKEN', value: ({ taken }) => taken },
      { title: 'BY', value: ({ reason }) => reason },
      { title: 'CONTAINERS', value: ({ containers }) => String(containers), align: 'right' },
      { title: 'LOGICAL', value: ({ logicalBytes }) => formatSize(logicalBytes), align: 'right' },
      { title: 'STORED', value: ({ storedBytes }) => formatSize(storedBytes), align: 'right' },
      { title: 'PRIVATE', value: ({ privateBytes }) => formatSize(privateBytes), align: 'right' },
      { title: 'LINKED', value: ({ linkedBytes }) => formatSize(linkedBytes), align: 'right' },
      { title: 'CACHED', value: ({ residentBytes }) => (residentBytes === null ? '-' : formatSize(residentBytes)), align: 'right' },
    ],
    'There are no samples yet: `templatefs stats`, `link` and `gc` take them.',
  );
}

function parseTop(text: string): string {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('write a number from 1 to 9999');
  return text;
}

function checkOptions(name: string | undefined, options: StatsOptions): void {
  const forms = [options.top !== undefined && '--top', options.trend === true && '--trend', options.prometheus === true && '--prometheus', options.html !== undefined && '--html'].filter((form) => form !== false);
  if (forms.length > 1) throw new TemplatefsError('USAGE', `${forms.join(' and ')} cannot be had at once`, { hint: 'run stats once for each' });
  if (name !== undefined && forms.length > 0) throw new TemplatefsError('USAGE', `${forms.join()} is about all containers`, { hint: `leave out ${name}` });
}

async function writePage(session: Session, options: StatsOptions, file: string): Promise<void> {
  const { statistics } = await import('../../service/statistics.js');
  const { keepSample, samplesOf } = await import('../../service/statistics-samples.js');
  const { topStatistics } = await import('../../service/top-statistics.js');
  const { renderStatisticsPage } = await import('../report/statistics-page.js');
  const { writeWhole } = await import('../report/write-whole.js');
  const { context } = session;
  const found = await statistics(context, { exact: options.exact === true, noMemory: !options.memory });
  await keepSample(context, 'stats', found);
  const top = await topStatistics(context, DEFAULT_TOP);
  try {
    await writeWhole(file, renderStatisticsPage({ store: context.paths.store, now: new Date(), statistics: found, samples: samplesOf(context), top }));
  } catch (error) {
    throw new TemplatefsError('FAILED', `cannot write ${file}: ${errnoOf(error) ?? String(error)}`, { hint: 'name a file in a folder that can be written to', cause: error });
  }
  session.result({ file, containers: found.containers.length }, (one) => `${one.file}\n`);
}

async function run(session: Session, name: string | undefined, options: StatsOptions): Promise<number> {
  checkOptions(name, options);
  const { context } = session;
  if (options.html !== undefined) {
    await writePage(session, options, options.html);
    return 0;
  }
  if (options.top !== undefined) {
    const { topStatistics } = await import('../../service/top-statistics.js');
    session.result(await topStatistics(context, typeof options.top === 'string' ? Number(options.top) : DEFAULT_TOP), topText);
    return 0;
  }
  const { keepSample, samplesOf } = await import('../../service/statistics-samples.js');
  if (options.trend === true) {
    session.result({ samples: samplesOf(context) }, ({ samples }) => trendText(samples));
    return 0;
  }
  const { statistics } = await import('../../service/statistics.js');
  const found = await statistics(context, { exact: options.exact === true, noMemory: !options.memory, ...(name !== undefined && { name }) });
  if (name === undefined) await keepSample(context, 'stats', found);
  if (options.prometheus === true) {
    const { formatPrometheus } = await import('../report/prometheus.js');
    session.text(formatPrometheus(found));
  } else {
    session.result(found, statsText);
  }
  return 0;
}

export function statsCommand(host: CommandHost): Command {
  return new Command('stats')
    .description('show what sharing saves on disk and in memory')
    .argument('[ct]', 'only this container, as if it were alone in the store')
    .option('--exact', 'count everything anew, and compare it with what was kept')
    .option('--no-memory', 'leave the page cache out: then nothing depends on the size of templates')
    .option('--top [n]', 'the largest, the most shared and the most private files, and what looks equal', (text: string) => parseTop(text))
    .option('--trend', 'the samples that stats, link and gc have taken')
    .option('--prometheus', 'in the text format of Prometheus')
    .option('--html <file>', 'write a page with plots, which needs no server')
    .addHelpText('after', examples('templatefs stats', 'templatefs stats --json | jq .disk.ratio', 'templatefs stats --top 20', 'templatefs stats --html stats.html', 'templatefs stats --prometheus --no-memory > templatefs.prom'))
    .action((name: string | undefined, options: StatsOptions, command: Command) => host.run(command, (session) => run(session, name, options)));
}
