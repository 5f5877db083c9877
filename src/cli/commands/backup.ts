import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { collect, examples, type CommandHost } from '../command-host.js';

interface BackupOptions {
  readonly against?: string[];
}

export function backupCommand(host: CommandHost): Command {
  return new Command('backup')
    .description('write a container with all that it needs into one file')
    .argument('<ct>', 'the container, also while it runs, or CT@ID for one of its snapshots')
    .argument('<file>', 'the file to make; one that is there is replaced')
    .option('--against <what>', 'leave out what the other store has: a template, or an earlier backup (may be given several times)', collect)
    .addHelpText('after', examples('templatefs backup c1 c1.backup', 'templatefs backup c1 c1.backup --against debian-12-x86_64'))
    .action((from: string, file: string, options: BackupOptions, command: Command) =>
      host.run(command, async (session) => {
        const { backupContainer } = await import('../../service/backup-container.js');
        const done = await backupContainer(session.context, { from, file, against: options.against ?? [] });
        session.result(done, ({ bytes, objects, includedObjects }) => `${file}: ${formatSize(bytes)}, ${includedObjects} of ${objects} objects\n`);
        return 0;
      }),
    );
}
