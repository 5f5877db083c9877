import { Command } from 'commander';
import { parseSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';
import { parseInodes } from '../inodes.js';

interface CreateOptions {
  readonly ostemplate: string;
  readonly quotaSize?: string;
  readonly quotaInodes?: string;
}

export function createCommand(host: CommandHost): Command {
  return new Command('create')
    .description('make a container from an OS template')
    .argument('<ct>', 'name of the new container')
    .requiredOption('--ostemplate <name>', 'the OS template that it stands on')
    .option('--quota-size <size>', 'space that it may take, as 10G')
    .option('--quota-inodes <n>', 'inodes that it may make')
    .addHelpText('after', examples('templatefs create c1 --ostemplate debian-12-x86_64'))
    .action((name: string, options: CreateOptions, command: Command) =>
      host.run(command, async (session) => {
        const { createContainer } = await import('../../service/create-container.js');
        const created = await createContainer(session.context, {
          name,
          template: options.ostemplate,
          ...(options.quotaSize !== undefined && { quotaSizeBytes: parseSize(options.quotaSize) }),
          ...(options.quotaInodes !== undefined && { quotaInodes: parseInodes(options.quotaInodes) }),
        });
        session.result(created, () => `created container ${created.name} from ${created.ostemplate}\n`);
        return 0;
      }),
    );
}
