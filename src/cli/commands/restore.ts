import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';

interface RestoreOptions {
  readonly name?: string;
}

export function restoreCommand(host: CommandHost): Command {
  return new Command('restore')
    .description('make a container what it was at a snapshot, or make one of a backup')
    .argument('<ct-or-file>', 'the container, which must not be mounted; alone: a file that `backup` made')
    .argument('[id]', 'the snapshot')
    .option('--name <ct>', 'of a backup: name of the container to make')
    .addHelpText('after', examples('templatefs restore c1 snap0', 'templatefs restore c1.backup --name c2'))
    .action((subject: string, id: string | undefined, options: RestoreOptions, command: Command) =>
      host.run(command, async (session) => {
        if (id === undefined) {
          const { restoreBackup } = await import('../../service/restore-backup.js');
          const made = await restoreBackup(session.context, { file: subject, ...(options.name !== undefined && { name: options.name }) });
          session.result(made, ({ name, newObjects, newBytes }) => `restored ${name}: ${newObjects} new objects, ${formatSize(newBytes)}\n`);
          return 0;
        }
        const { restoreSnapshot } = await import('../../service/snapshot-container.js');
        const restored = await restoreSnapshot(session.context, { container: subject, id });
        session.result(restored, () => `restored ${subject} from ${id}\n`);
        return 0;
      }),
    );
}
