import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

interface SnapshotterOptions {
  readonly address: string;
  /** commander's form of `--no-gc`. */
  readonly gc: boolean;
}

export function snapshotterCommand(host: CommandHost): Command {
  return new Command('snapshotter')
    .description('serve containerd as its snapshotter, until it is ended by a signal')
    .option('--address <socket>', 'the socket that containerd is told of', '/run/templatefs/containerd.sock')
    .option('--no-gc', 'leave the space of removed images to `templatefs gc`')
    .addHelpText('after', examples('templatefs snapshotter --address /run/templatefs/containerd.sock'))
    .action((options: SnapshotterOptions, command: Command) =>
      host.run(command, async (session) => {
        const { serveSnapshots } = await import('../../snapshotter/serve.js');
        await serveSnapshots(session.context, {
          address: options.address,
          collectsGarbage: options.gc,
          onReady: (address) => { session.note(`serving containerd at ${address}`); },
        });
        return 0;
      }),
    );
}
