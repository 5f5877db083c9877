import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

export function restoreCommand(host: CommandHost): Command {
  return new Command('restore')
    .description('make a container what it was when a snapshot of it was taken')
    .argument('<ct>', 'the container; it must not be mounted')
    .argument('<id>', 'the snapshot')
    .addHelpText('after', examples('templatefs restore c1 snap0'))
    .action((container: string, id: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { restoreSnapshot } = await import('../../service/snapshot-container.js');
        const restored = await restoreSnapshot(session.context, { container, id });
        session.result(restored, () => `restored ${container} from ${id}\n`);
        return 0;
      }),
    );
}
