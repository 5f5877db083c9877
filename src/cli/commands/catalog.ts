import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

export function catalogCommand(host: CommandHost): Command {
  const catalog = new Command('catalog').description('mend the catalog of templates and containers');
  catalog
    .command('rebuild')
    .description('make a new catalog from the files of the store; the old one is kept under another name')
    .addHelpText('after', examples('templatefs catalog rebuild'))
    .action((_options, command: Command) =>
      host.run(command, async (session) => {
        const { rebuildCatalog } = await import('../../service/rebuild-catalog.js');
        const done = await rebuildCatalog(session.context);
        session.result(done, ({ templates, containers, movedTo, problems, lost }) =>
          [
            `found ${templates.length} templates and ${containers.length} containers`,
            ...(movedTo === null ? [] : [`the old catalog is kept as ${movedTo}`]),
            ...lost.map((what) => `taken over in part: ${what.name}: ${what.lost}`),
            ...problems.map(({ name, problem }) => `not taken over: ${name}: ${problem}`),
            '',
          ].join('\n'),
        );
        return done.problems.length === 0 ? 0 : 3;
      }),
    );
  return catalog;
}
