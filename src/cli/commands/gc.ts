import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import type { CollectedGarbage } from '../../service/collect-garbage.js';
import { EXIT_STATUS } from '../exit-codes.js';
import { examples, type CommandHost } from '../command-host.js';

interface GcOptions {
  readonly dryRun?: boolean;
}

function text(done: CollectedGarbage): string {
  const { dryRun, objects, trees, freedBytes, leftovers, kept, keptObjects, keptBytes, listed } = done;
  return [
    ...(listed?.trees ?? []).map((name) => `tree ${name}`),
    ...(listed?.objects ?? []).map((name) => `object ${name}`),
    ...(dryRun ? leftovers.map((path) => `left over ${path}`) : []),
    ...kept.map(({ name, reason }) => `left alone: ${name}: ${reason}`),
    ...(keptObjects === 0 ? [] : [`it is not known what these need, so ${keptObjects} objects that nothing else needs are kept (${formatSize(keptBytes)}); see templatefs verify`]),
    `${dryRun ? 'would remove' : 'removed'} ${objects} objects, ${trees} trees and ${leftovers.length} leftovers: ${formatSize(freedBytes)}`,
    '',
  ].join('\n');
}

export function gcCommand(host: CommandHost): Command {
  return new Command('gc')
    .description('remove what no template and no container needs any more, and what killed commands left')
    .option('--dry-run', 'list it and remove nothing')
    .addHelpText('after', examples('templatefs gc --dry-run', 'templatefs gc --wait 60'))
    .action((options: GcOptions, command: Command) =>
      host.run(command, async (session) => {
        const { collectGarbage } = await import('../../service/collect-garbage.js');
        const done = await collectGarbage(session.context, { dryRun: options.dryRun === true });
        if (!done.dryRun && done.objects + done.trees > 0) {
          const { sampleAfter } = await import('../../service/statistics-samples.js');
          await sampleAfter(session.context, 'gc');
        }
        session.result(done, text);
        return done.kept.length === 0 ? 0 : EXIT_STATUS.PARTIAL;
      }),
    );
}
