import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';

interface CommitOptions {
  readonly refresh?: boolean;
}

export function commitCommand(host: CommandHost): Command {
  return new Command('commit')
    .description('make a template of what a container shows, at the cost of what it has changed')
    .argument('<ct>', 'the container, also while it runs, or CT@ID for one of its snapshots')
    .argument('<name>', 'name of the new template')
    .option('--refresh', 'make a new version of a template that is there')
    .addHelpText('after', examples('templatefs commit c1 my-webserver', 'templatefs commit c1@before my-webserver --refresh'))
    .action((from: string, template: string, options: CommitOptions, command: Command) =>
      host.run(command, async (session) => {
        const { commitContainer } = await import('../../service/commit-container.js');
        const added = await commitContainer(session.context, { from, template, refresh: options.refresh === true });
        session.result(
          added,
          ({ name, version, files, bytes, newObjects, newBytes }) =>
            `template ${name} version ${version}: ${files} files, ${formatSize(bytes)}\n  new in the store: ${formatSize(newBytes)} in ${newObjects} objects\n`,
        );
        return 0;
      }),
    );
}
