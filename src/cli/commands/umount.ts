import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

interface UmountOptions {
  readonly force?: boolean;
}

export function umountCommand(host: CommandHost): Command {
  return new Command('umount')
    .alias('unmount')
    .description("unmount a container's root; what it wrote is durable then")
    .argument('<ct>', 'the container')
    .option('--force', 'also while processes use it: they see errors from then on')
    .addHelpText('after', examples('templatefs umount c1', 'templatefs umount c1 --force'))
    .action((name: string, options: UmountOptions, command: Command) =>
      host.run(command, async (session) => {
        const { umountContainer } = await import('../../service/umount-container.js');
        const done = await umountContainer(session.context, { name, force: options.force === true });
        session.result(done, ({ wasMounted }) => (wasMounted ? `unmounted ${name}\n` : `${name} was not mounted\n`));
        return 0;
      }),
    );
}
