import { Command } from 'commander';
import { TemplatefsError } from '../../core/errors.js';
import { parseSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';

interface CreateOptions {
  readonly ostemplate: string;
  readonly quotaSize?: string;
  readonly quotaInodes?: string;
}

function parseInodes(text: string): number {
  if (!/^[1-9]\d{0,11}$/.test(text)) {
    throw new TemplatefsError('USAGE', `not a number of inodes: ${JSON.stringify(text)}`, { hint: 'for example: --quota-inodes 200000' });
  }
  return Number(text);
}

export function createCommand(host: CommandHost): Command {
  return new Command('create')
    .description('make a container from an OS template')
    .argument('<ct>', 'name of the new container')
    .requiredOption('--ostemplate <name>', 'the OS template that it stands on')
    .option('--quota-size <size>', 'space that it may take, as 10G (recorded; not enforced yet)')
    .option('--quota-inodes <n>', 'inodes that it may make (recorded; not enforced yet)')
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
        if (options.quotaSize !== undefined || options.quotaInodes !== undefined) {
          session.note('the quota is recorded; this version does not enforce it yet');
        }
        session.result(created, () => `created container ${created.name} from ${created.ostemplate}\n`);
        return 0;
      }),
    );
}
