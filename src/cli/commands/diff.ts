import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

export function diffCommand(host: CommandHost): Command {
  return new Command('diff')
    .description('list what a container has changed: A added, C changed, D deleted')
    .argument('<ct>', 'the container')
    .addHelpText('after', examples('templatefs diff c1', "templatefs diff c1 --json | jq -r '.[].path'"))
    .action((name: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { diffContainer } = await import('../../service/diff-container.js');
        session.result(await diffContainer(session.context, name), (changes) =>
          changes.map(({ letter, path, from }) => `${letter} ${path}${from === undefined ? '' : ` (was ${from})`}\n`).join(''),
        );
        return 0;
      }),
    );
}
