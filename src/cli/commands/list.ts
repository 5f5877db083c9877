import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';
import { formatTable } from '../output.js';

export function listCommand(host: CommandHost): Command {
  return new Command('list')
    .alias('ls')
    .description('list the containers')
    .addHelpText('after', examples('templatefs list', "templatefs list --json | jq -r '.[].name'"))
    .action((_options, command: Command) =>
      host.run(command, async (session) => {
        const { listContainers } = await import('../../service/list-containers.js');
        session.result(await listContainers(session.context), (containers) =>
          formatTable(
            containers,
            [
              { title: 'NAME', value: ({ name }) => name },
              { title: 'OSTEMPLATE', value: ({ ostemplate }) => ostemplate },
              { title: 'STATE', value: ({ state }) => state },
              { title: 'ROOT', value: ({ root }) => root ?? '-' },
            ],
            'There are no containers. Make one: templatefs create CT --ostemplate NAME',
          ),
        );
        return 0;
      }),
    );
}
