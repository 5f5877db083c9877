import { Command } from 'commander';
import { parseIdMaps } from '../../core/id-map.js';
import { collect, examples, type CommandHost } from '../command-host.js';
import { parseEnvironment } from '../environment-option.js';

interface BundleOptions {
  readonly env?: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly terminal?: boolean;
  readonly force?: boolean;
  readonly idmap?: string[];
  readonly uidmap?: string[];
  readonly gidmap?: string[];
}

export function bundleCommand(host: CommandHost): Command {
  return new Command('bundle')
    .description('write an OCI bundle for runc, crun and other runtimes, whose root is the mounted container')
    .usage('[options] <ct> <dir> [-- <command...>]')
    .argument('<ct>', 'the container')
    .argument('<dir>', 'folder of the bundle; it is made if it is not there')
    .argument('[command...]', 'the command and its arguments, after -- (default: what the image says, else a shell)')
    .option('--env <name=value>', 'set a variable (may be given several times)', collect)
    .option('--workdir <dir>', 'folder in the container to start in')
    .option('--user <user[:group]>', 'user to start as, by name or number')
    .option('-t, --terminal', 'give the command a terminal')
    .option('--idmap <container:host:size>', "map ids like this in place of the container's setting; none: not at all", collect)
    .option('--uidmap <container:host:size>', 'the same for users only; for groups too if there is no --gidmap', collect)
    .option('--gidmap <container:host:size>', 'the same for groups only; for users too if there is no --uidmap', collect)
    .option('--force', 'write over a bundle that is there')
    .addHelpText(
      'after',
      examples('templatefs bundle c1 /srv/c1 -- /sbin/init', '/srv/c1/mount && runc run --bundle /srv/c1 c1', 'templatefs bundle c2 /srv/c2 --idmap 0:100000:65536 --terminal'),
    )
    .action((name: string, folder: string, words: string[], options: BundleOptions, command: Command) =>
      host.run(command, async (session) => {
        const env = parseEnvironment(options.env);
        const ids = parseIdMaps(options);
        const { bundleContainer } = await import('../../service/bundle-container.js');
        const made = await bundleContainer(session.context, {
          name,
          folder,
          command: words,
          env,
          terminal: options.terminal === true,
          force: options.force === true,
          ...(ids !== undefined && { ids }),
          ...(options.user !== undefined && { user: options.user }),
          ...(options.workdir !== undefined && { workdir: options.workdir }),
        });
        session.result(made, ({ bundle, mount }) => `${bundle}\n`.concat(`  start it:  ${mount} && runc run --bundle ${bundle} ${name}\n`));
        return 0;
      }),
    );
}
