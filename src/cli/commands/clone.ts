import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';

export function cloneCommand(host: CommandHost): Command {
  return new Command('clone')
    .alias('copy')
    .description('make a container that is equal to another one, or to a snapshot')
    .argument('<ct>', 'the container, also while it runs, or CT@ID for one of its snapshots')
    .argument('<new>', 'name of the new container')
    .addHelpText('after', examples('templatefs clone c1 c2', 'templatefs clone c1@snap0 before'))
    .action((from: string, name: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { cloneContainer } = await import('../../service/clone-container.js');
        const cloned = await cloneContainer(session.context, { from, name });
        session.result(cloned, ({ entries, bytes }) => `cloned ${from} to ${name}: ${entries} entries, ${formatSize(bytes)} of content of its own\n`);
        return 0;
      }),
    );
}
