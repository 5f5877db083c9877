import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

interface DestroyOptions {
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

export function destroyCommand(host: CommandHost): Command {
  return new Command('destroy')
    .description('remove a container and everything that it wrote')
    .argument('<ct>', 'the container')
    .option('--force', 'also when it is mounted')
    .option('--dry-run', 'check everything and change nothing')
    .addHelpText('after', examples('templatefs destroy c1', 'templatefs destroy c1 --force'))
    .action((name: string, options: DestroyOptions, command: Command) =>
      host.run(command, async (session) => {
        const { destroyContainer } = await import('../../service/destroy-container.js');
        const done = await destroyContainer(session.context, {
          name,
          force: options.force === true,
          dryRun: options.dryRun === true,
        });
        session.result(done, ({ destroyed }) => (destroyed ? `destroyed ${name}\n` : `would destroy ${name}\n`));
        return 0;
      }),
    );
}
