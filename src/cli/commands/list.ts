import { Command } from 'commander';
import type { ContainerPackages } from '../../service/container-packages.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatTable } from '../output.js';

function packagesText({ ostemplate, apptemplates, packages }: ContainerPackages): string {
  const outdated = packages.filter(({ newer }) => newer !== null).length;
  const table = formatTable(
    packages,
    [
      { title: 'PACKAGE', value: (one) => one.name },
      { title: 'VERSION', value: (one) => one.version },
      { title: 'NEWER', value: (one) => one.newer ?? '-' },
      { title: 'FROM', value: (one) => one.template ?? 'no template' },
    ],
    'It has no packages.',
  );
  return `OS template: ${ostemplate}\napp templates: ${apptemplates.length === 0 ? 'none' : apptemplates.join(', ')}\n${packages.length} packages, ${outdated} out of date\n\n${table}`;
}

export function listCommand(host: CommandHost): Command {
  return new Command('list')
    .alias('ls')
    .description('list the containers; or the templates and packages of one')
    .argument('[ct]', 'a container: which templates and packages it has, and what is out of date')
    .addHelpText('after', examples('templatefs list', "templatefs list --json | jq -r '.[].name'", 'templatefs list c1'))
    .action((name: string | undefined, _options, command: Command) =>
      host.run(command, async (session) => {
        if (name !== undefined) {
          const { containerPackages } = await import('../../service/container-packages.js');
          session.result(await containerPackages(session.context, name), packagesText);
          return 0;
        }
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
