import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import type { FoundObject } from '../../service/query-object.js';
import type { FoundPackages } from '../../service/query-packages.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields, formatTable } from '../output.js';

function packagesText({ found, asked, unknown }: FoundPackages): string {
  return [
    formatTable(
      found,
      [
        { title: 'CONTAINER', value: ({ container }) => container },
        { title: 'PACKAGE', value: ({ name }) => name },
        { title: 'VERSION', value: ({ version }) => version },
        { title: 'ARCHITECTURE', value: ({ architecture }) => architecture },
        { title: 'OSTEMPLATE', value: ({ ostemplate }) => ostemplate },
      ],
      `None of ${asked} containers.`,
    ),
    ...unknown.map(({ container, reason }) => `not known: ${container}: ${reason}\n`),
  ].join('');
}

function objectText(one: FoundObject): string {
  return formatFields([
    ['object', one.object],
    ['file', one.file],
    ['size', `${formatSize(one.sizeBytes)}, ${formatSize(one.allocatedBytes)} on the disk, ${formatSize(one.residentBytes)} in the page cache`],
    ['templates', one.templates.length === 0 ? 'none' : one.templates.join(' ')],
    ['containers', one.containers.length === 0 ? 'none' : one.containers.join(' ')],
    ['snapshots', one.snapshots.length === 0 ? null : one.snapshots.join(' ')],
  ]).concat(...(one.paths ?? []).map(({ container, path }) => `${container}:${path}\n`));
}

export function queryCommand(host: CommandHost): Command {
  const query = new Command('query').description('ask about all containers at once; nothing is mounted');
  query
    .command('package')
    .description('which containers have a package, in some versions')
    .argument('<package>', "NAME, or 'NAME<VERSION' with < <= = != >= > in quotes")
    .addHelpText('after', examples("templatefs query package 'openssl<3.0.11'", 'templatefs query package bash', "templatefs query package 'bash>=5' --json | jq -r '.found[].container'"))
    .action((text: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { parsePackageQuery, queryPackages } = await import('../../service/query-packages.js');
        session.result(await queryPackages(session.context, parsePackageQuery(text)), packagesText);
        return 0;
      }),
    );
  query
    .command('object')
    .description('which templates, containers and snapshots need an object')
    .argument('<id>', 'its id, or the first digits of it')
    .option('--paths', 'where the containers have it: costs a walk over their roots')
    .addHelpText('after', examples('templatefs query object 5d0c62f1', 'templatefs query object 5d0c62f1 --paths'))
    .action((id: string, options: { readonly paths?: boolean }, command: Command) =>
      host.run(command, async (session) => {
        const { queryObject } = await import('../../service/query-object.js');
        session.result(await queryObject(session.context, { id, paths: options.paths === true }), objectText);
        return 0;
      }),
    );
  return query;
}
