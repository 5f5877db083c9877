import { Command } from 'commander';
import { parseIdMaps } from '../../core/id-map.js';
import { collect, examples, type CommandHost } from '../command-host.js';

interface MountOptions {
  readonly passthrough: boolean;
  readonly options?: string[];
  readonly idmap?: string[];
  readonly uidmap?: string[];
  readonly gidmap?: string[];
}

export function mountCommand(host: CommandHost): Command {
  return new Command('mount')
    .description("mount a container's root and print the mount point")
    .argument('<ct>', 'the container')
    .argument('[mountpoint]', 'an existing folder (default: root/CT in the store)')
    .option('-o, --options <list>', 'as with mount(8): ro, nosuid, nodev, noexec, noatime, fsname=NAME, … (again for more)', collect)
    .option('--idmap <container:host:size>', "map ids like this in place of the container's setting; none: not at all", collect)
    .option('--uidmap <container:host:size>', 'the same for users only; for groups too if there is no --gidmap', collect)
    .option('--gidmap <container:host:size>', 'the same for groups only; for users too if there is no --uidmap', collect)
    .option('--no-passthrough', 'serve reads and writes through the engine, for comparison')
    .addHelpText('after', examples('templatefs mount c1', 'chroot "$(templatefs mount c1)" cat /etc/os-release', 'templatefs mount c1 /mnt', 'templatefs mount c1 /mnt -o ro,nosuid', 'templatefs mount c1 --idmap 0:100000:65536'))
    .action((name: string, mountpoint: string | undefined, options: MountOptions, command: Command) =>
      host.run(command, async (session) => {
        const { mountContainer } = await import('../../service/mount-container.js');
        const ids = parseIdMaps(options);
        const { root, already } = await mountContainer(session.context, {
          name,
          ...(mountpoint !== undefined && { mountpoint }),
          ...(ids !== undefined && { ids }),
          ...(options.options !== undefined && { mountOptions: options.options.join(',') }),
          ...(!options.passthrough && { passthrough: false }),
        });
        session.result({ name, root, already }, () => `${root}\n`);
        return 0;
      }),
    );
}
