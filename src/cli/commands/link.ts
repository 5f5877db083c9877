import { Command } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { TemplatefsError } from '../../core/errors.js';
import type { LinkSettings } from '../../core/link-policy.js';
import { formatSize, parseSize } from '../../core/sizes.js';
import type { LinkedContainers } from '../../service/link-containers.js';
import { examples, type CommandHost } from '../command-host.js';
import { EXIT_STATUS } from '../exit-codes.js';
import { parseSeconds, type Session } from '../session.js';

interface LinkOptions {
  readonly all?: boolean;
  readonly dryRun?: boolean;
  readonly full?: boolean;
  readonly leastSize?: string;
  readonly greatestSize?: string;
  readonly path?: readonly string[];
  readonly age?: string;
  readonly rate?: string;
  readonly threads?: string;
  readonly watch?: string | boolean;
}

/** So many files that were left alone are named. */
const NAMED = 20;
const WATCH_SECONDS = 300;

function text(done: LinkedContainers): string {
  const { dryRun, adoptedFiles, mergedFiles, keptFiles, addedBytes, savedBytes, readBytes, skipped, failed, unchanged, containers } = done;
  const would = dryRun ? 'would be ' : '';
  return [
    ...skipped.slice(0, NAMED).map(({ container, path, reason }) => `left alone: ${container} ${path}: ${reason}`),
    ...(skipped.length > NAMED ? [`left alone: ${skipped.length - NAMED} more; see --json`] : []),
    ...failed.map(({ container, reason }) => `left alone: ${container}: ${reason}`),
    `${adoptedFiles + mergedFiles} files ${would}linked, ${formatSize(addedBytes)} added to the store, ${formatSize(savedBytes)} ${would}saved; ` +
      `${unchanged} of ${containers} containers unchanged, ${formatSize(readBytes)} read`,
    ...(keptFiles === 0 ? [] : [`${keptFiles} of them are in use and give their space back later`]),
    '',
  ].join('\n');
}

function parseThreads(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new TemplatefsError('USAGE', `not a number of threads: ${JSON.stringify(text)}`, { hint: 'for example: --threads 1' });
  return Number(text);
}

function settingsOf(options: LinkOptions): LinkSettings {
  for (const path of options.path ?? []) {
    if (!path.startsWith('/')) throw new TemplatefsError('USAGE', `not an absolute path: ${JSON.stringify(path)}`, { hint: 'name it as the container sees it: --path /usr' });
  }
  return {
    ...(options.leastSize !== undefined && { leastBytes: parseSize(options.leastSize) }),
    ...(options.greatestSize !== undefined && { greatestBytes: parseSize(options.greatestSize) }),
    ...(options.path !== undefined && { paths: options.path.map((path) => (path === '/' ? path : path.replace(/\/+$/, ''))) }),
    ...(options.age !== undefined && { ageSeconds: parseSeconds(options.age) / 1000 }),
    ...(options.rate !== undefined && { bytesPerSecond: parseSize(options.rate) }),
    ...(options.threads !== undefined && { threads: parseThreads(options.threads) }),
  };
}

async function watch(session: Session, run: () => Promise<LinkedContainers>, seconds: number): Promise<number> {
  for (;;) {
    const done = await run();
    if (done.adoptedFiles + done.mergedFiles + done.failed.length > 0) session.note(text(done).trimEnd());
    await sleep(seconds * 1000, undefined, session.context.signal === undefined ? {} : { signal: session.context.signal });
  }
}

export function linkCommand(host: CommandHost): Command {
  return new Command('link')
    .alias('dedup')
    .description('make links of private files that are equal to what the store or other containers have')
    .argument('[ct...]', 'only these containers')
    .option('--all', 'all containers')
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--full', 'look at everything, whatever earlier runs have found out')
    .option('--least-size <size>', 'only files of at least this size')
    .option('--greatest-size <size>', 'only files of at most this size')
    .option('--path <path...>', 'only files below these paths of the container')
    .option('--age <seconds>', 'only files that were not written to for so long')
    .option('--rate <size>', 'read at most so much each second')
    .option('--threads <number>', 'read with at most so many threads')
    .option('--watch [seconds]', `go on, with a run each so many seconds (default: ${WATCH_SECONDS})`)
    .addHelpText('after', examples('templatefs link c1', 'templatefs link --all --dry-run', 'templatefs link --all --least-size 4K --rate 50M --watch 600'))
    .action((names: string[], options: LinkOptions, command: Command) =>
      host.run(command, async (session) => {
        if ((options.all === true) === names.length > 0) {
          throw new TemplatefsError('USAGE', 'name containers, or --all', { hint: 'for example: templatefs link --all --dry-run' });
        }
        const settings = settingsOf(options);
        const { linkContainers } = await import('../../service/link-containers.js');
        const { lowerDiskPriority } = await import('../../service/lower-disk-priority.js');
        const run = async (): Promise<LinkedContainers> => {
          const linked = await linkContainers(session.context, {
            settings,
            dryRun: options.dryRun === true,
            full: options.full === true,
            onWork: lowerDiskPriority,
            ...(options.all !== true && { names }),
          });
          if (!linked.dryRun && linked.adoptedFiles + linked.mergedFiles > 0) {
            const { sampleAfter } = await import('../../service/statistics-samples.js');
            await sampleAfter(session.context, 'link');
          }
          return linked;
        };
        if (options.watch !== undefined && options.watch !== false) {
          const seconds = typeof options.watch === 'string' ? parseSeconds(options.watch) / 1000 : WATCH_SECONDS;
          return watch(session, run, seconds);
        }
        const done = await run();
        session.result(done, text);
        // Only of what bin/templatefs asks the engine's binary for.
        if (options.all === true && options.dryRun !== true && !session.json && Object.keys(settings).length === 0) {
          const { keepSettled } = await import('../../service/link-containers.js');
          await keepSettled(session.context, text).catch(() => undefined);
        }
        return done.failed.length === 0 ? 0 : EXIT_STATUS.PARTIAL;
      }),
    );
}
