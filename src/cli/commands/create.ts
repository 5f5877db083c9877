import { Command } from 'commander';
import { parseIdMaps } from '../../core/id-map.js';
import { sharedPathsOption } from '../../core/shared-paths.js';
import { parseSize } from '../../core/sizes.js';
import { collect, examples, parseNames, type CommandHost } from '../command-host.js';
import { parseInodes } from '../inodes.js';

interface CreateOptions {
  readonly ostemplate: string;
  readonly apptemplate?: string[];
  readonly quotaSize?: string;
  readonly quotaInodes?: string;
  readonly sharedPath?: string[];
  readonly idmap?: string[];
  readonly uidmap?: string[];
  readonly gidmap?: string[];
}

export function createCommand(host: CommandHost): Command {
  return new Command('create')
    .description('make a container from an OS template')
    .argument('<ct>', 'name of the new container')
    .requiredOption('--ostemplate <name>', 'the OS template that it stands on')
    .option('--apptemplate <names>', 'app templates to start with, with commas between them (again for more)', collect)
    .option('--quota-size <size>', 'space that it may take, as 10G')
    .option('--quota-inodes <n>', 'inodes that it may make')
    .option('--idmap <container:host:size>', 'show ids from CONTAINER up as HOST and up on the host (again for more ranges)', collect)
    .option('--uidmap <container:host:size>', 'the same for users only; for groups too if there is no --gidmap', collect)
    .option('--gidmap <container:host:size>', 'the same for groups only; for users too if there is no --uidmap', collect)
    .option('--shared-path <path>', 'share open template files below this folder between containers (again for more; none: no folder)', collect)
    .addHelpText(
      'after',
      examples('templatefs create c1 --ostemplate debian-12-x86_64', 'templatefs create web --ostemplate debian-12-x86_64 --apptemplate php,nginx', 'templatefs create c2 --ostemplate debian-12-x86_64 --idmap 0:100000:65536'),
    )
    .action((name: string, options: CreateOptions, command: Command) =>
      host.run(command, async (session) => {
        const { createWithApps } = await import('../../service/create-with-apps.js');
        const ids = parseIdMaps(options);
        const shared = sharedPathsOption(options.sharedPath);
        const created = await createWithApps(session.context, {
          name,
          template: options.ostemplate,
          ...(ids !== undefined && { ids }),
          ...(shared !== undefined && { shared }),
          ...(options.quotaSize !== undefined && { quotaSizeBytes: parseSize(options.quotaSize) }),
          ...(options.quotaInodes !== undefined && { quotaInodes: parseInodes(options.quotaInodes) }),
        }, parseNames(options.apptemplate));
        session.result(created, () => `created container ${created.name} from ${created.ostemplate}\n`);
        return 0;
      }),
    );
}
