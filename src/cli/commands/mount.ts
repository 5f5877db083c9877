import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

interface MountOptions {
  readonly passthrough: boolean;
}

export function mountCommand(host: CommandHost): Command {
  return new Command('mount')
    .description("mount a container's root and print the mount point")
    .argument('<ct>', 'the container')
    .argument('[mountpoint]', 'an existing folder (default: root/CT in the store)')
    .option('--no-passthrough', 'serve reads and writes through the engine, for comparison')
    .addHelpText('after', examples('templatefs mount c1', 'chroot "$(templatefs mount c1)" cat /etc/os-release', 'templatefs mount c1 /mnt'))
    .action((name: string, mountpoint: string | undefined, options: MountOptions, command: Command) =>
      host.run(command, async (session) => {
        const { mountContainer } = await import('../../service/mount-container.js');
        const mounted = await mountContainer(session.context, {
          name,
          ...(mountpoint !== undefined && { mountpoint }),
          ...(!options.passthrough && { passthrough: false }),
        });
        session.result(mounted, ({ root }) => `${root}\n`);
        return 0;
      }),
    );
}
