import { Command } from 'commander';
import { TemplatefsError } from '../../core/errors.js';
import { formatSize, parseSize } from '../../core/sizes.js';
import { EXIT_STATUS } from '../exit-codes.js';
import { collect, examples, type CommandHost } from '../command-host.js';

interface VerifyOptions {
  readonly repair?: boolean;
  readonly source?: string[];
  readonly bootstrap?: boolean;
  readonly rate?: string;
  readonly dryRun?: boolean;
}

/** @throws USAGE */
function checkOptions({ repair, source, bootstrap, dryRun }: VerifyOptions): void {
  if (repair !== true && (source !== undefined || bootstrap === true)) {
    throw new TemplatefsError('USAGE', '--source and --bootstrap say where --repair takes content from', { hint: 'add --repair' });
  }
  if (repair === true && dryRun === true) throw new TemplatefsError('USAGE', '--repair and --dry-run exclude one another', { hint: 'leave one of them out' });
}

export function verifyCommand(host: CommandHost): Command {
  return new Command('verify')
    .description('check every object, tree and container of the store; broken objects are set aside, so that reads of them fail')
    .option('--repair', 'mend what can be mended, and touch nothing else')
    .option('--source <place>', 'an archive or a folder that lost content may be taken from (may be given several times)', collect)
    .option('--bootstrap', 'run the definitions of templates again for content that is found nowhere else')
    .option('--rate <size>', 'read at most so many bytes in a second: 20M')
    .option('--dry-run', 'only report: broken objects stay where they are')
    .addHelpText(
      'after',
      examples('templatefs verify', 'templatefs verify --rate 50M', "templatefs verify --json | jq '.problems[]'", 'templatefs verify --repair --source debian.tar'),
    )
    .action((options: VerifyOptions, command: Command) =>
      host.run(command, async (session) => {
        checkOptions(options);
        const { lowerDiskPriority } = await import('../../service/lower-disk-priority.js');
        lowerDiskPriority();
        const { verifyStore } = await import('../../service/verify-store.js');
        const found = await verifyStore(session.context, {
          repair: options.repair === true,
          dryRun: options.dryRun === true,
          given: options.source ?? [],
          bootstrap: options.bootstrap === true,
          ...(options.rate !== undefined && { bytesPerSecond: parseSize(options.rate) }),
        });
        session.result(found, ({ objectsChecked, bytesChecked, treesChecked, containersChecked, snapshotsChecked, problems, repaired }) =>
          [
            ...repaired.map(({ kind, name, problem }) => `repaired: ${kind} ${name}: ${problem}`),
            ...problems.map(({ kind, name, problem, repair }) => `${kind} ${name}: ${problem}\n  repair: ${repair}`),
            `checked ${objectsChecked} objects (${formatSize(bytesChecked)}), ${treesChecked} trees, ${containersChecked} containers${snapshotsChecked === 0 ? '' : `, ${snapshotsChecked} snapshots`}: ${problems.length === 0 ? 'no problems' : `${problems.length} problems`}${repaired.length === 0 ? '' : `, ${repaired.length} repaired`}`,
            '',
          ].join('\n'),
        );
        return found.problems.length === 0 ? 0 : EXIT_STATUS.INTEGRITY;
      }),
    );
}
