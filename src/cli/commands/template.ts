import { Command } from 'commander';
import { sharedPathsOption } from '../../core/shared-paths.js';
import { formatSize } from '../../core/sizes.js';
import type { AddedTemplate } from '../../service/add-template.js';
import type { UpdatedTemplate } from '../../service/update-template.js';
import { collect, examples, parseNames, type CommandHost } from '../command-host.js';
import { formatFields, formatTable, sharedPathsOwner } from '../output.js';

interface CreateOptions {
  readonly flavor?: string[];
  readonly sharedPath?: string[];
  readonly apptemplate?: string[];
  readonly as?: string;
  readonly refresh?: boolean;
}

interface ImportOptions extends CreateOptions {
  readonly platform?: string;
  readonly tlsVerify: boolean;
}

interface DryRunOptions {
  readonly dryRun?: boolean;
}

function addedText(template: AddedTemplate): string {
  return (
    `template ${template.name} version ${template.version}: ${template.files} files, ${formatSize(template.bytes)}\n` +
    `  new in the store: ${formatSize(template.newBytes)} in ${template.newObjects} objects; shared with what was there: ${template.sharedObjects} objects\n`
  );
}

function addCreate(template: Command, host: CommandHost): void {
  template
    .command('create')
    .description('make a template from its definition, with the real bootstrap tool')
    .argument('<name>', 'name of a definition')
    .option('--flavor <flavor>', 'a flavor of the definition (may be given several times)', collect)
    .option('--apptemplate <names>', 'a template of this one with app templates installed (with commas between them); NAME is made first if need be', collect)
    .option('--as <name>', 'with --apptemplate: name of the new template instead of NAME-APP')
    .option('--refresh', 'make a new version of a template that is there')
    .option('--shared-path <path>', 'share open files below this folder between containers (again for more; none: no folder)', collect)
    .addHelpText('after', examples('templatefs template create debian-12-x86_64', 'templatefs template create debian-12-x86_64 --apptemplate php,nginx', 'templatefs template create debian-12-x86_64 --refresh'))
    .action((name: string, options: CreateOptions, command: Command) =>
      host.run(command, async (session) => {
        const apps = parseNames(options.apptemplate);
        if (apps.length > 0) {
          const { createWithAppTemplates } = await import('../../service/create-with-app-templates.js');
          session.result(await createWithAppTemplates(session.context, { name, flavors: options.flavor ?? [], apps, refresh: options.refresh === true, ...(options.as !== undefined && { as: options.as }) }), addedText);
          return 0;
        }
        const { createTemplate } = await import('../../service/create-template.js');
        const shared = sharedPathsOption(options.sharedPath);
        const added = await createTemplate(session.context, {
          name,
          flavors: options.flavor ?? [],
          refresh: options.refresh === true,
          ...(shared !== undefined && { shared }),
        });
        session.result(added, addedText);
        return 0;
      }),
    );
}

function addImport(template: Command, host: CommandHost): void {
  template
    .command('import')
    .description('make a template from an archive, a folder or an image')
    .argument('<name>', 'name of the new template')
    .argument('<source>', 'a tar (plain, gz, xz or zst), a folder, - for a tar on stdin, or an image: oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], docker://NAME')
    .option('--platform <os/arch>', 'which image of one for several platforms (default: that of this machine)')
    .option('--no-tls-verify', 'take images from a registry without TLS, or with a certificate that nobody vouches for')
    .option('--refresh', 'make a new version of a template that is there')
    .option('--shared-path <path>', 'share open files below this folder between containers (again for more; none: no folder)', collect)
    .addHelpText(
      'after',
      examples(
        'templatefs template import alpine-3.20 alpine-minirootfs.tar.gz',
        'docker export c | templatefs template import from-docker -',
        'templatefs template import mine /srv/rootfs',
        'templatefs template import web docker://registry.example/web:2',
      ),
    )
    .action((name: string, source: string, options: ImportOptions, command: Command) =>
      host.run(command, async (session) => {
        const { platformOption } = await import('../../oci/platform.js');
        const { importTemplate } = await import('../../service/import-template.js');
        const shared = sharedPathsOption(options.sharedPath);
        const added = await importTemplate(session.context, {
          name,
          source,
          refresh: options.refresh === true,
          tlsVerify: options.tlsVerify,
          ...(options.platform !== undefined && { platform: platformOption(options.platform) }),
          ...(shared !== undefined && { shared }),
        });
        session.result(added, addedText);
        return 0;
      }),
    );
}

function addList(template: Command, host: CommandHost): void {
  template
    .command('list')
    .alias('ls')
    .description('list the templates')
    .addHelpText('after', examples('templatefs template list'))
    .action((_options, command: Command) =>
      host.run(command, async (session) => {
        const { listTemplates } = await import('../../service/list-templates.js');
        session.result(await listTemplates(session.context), (templates) =>
          formatTable(
            templates,
            [
              { title: 'NAME', value: ({ name }) => name },
              { title: 'VERSION', value: ({ version }) => String(version), align: 'right' },
              { title: 'FILES', value: ({ files }) => String(files), align: 'right' },
              { title: 'SIZE', value: ({ bytes }) => formatSize(bytes), align: 'right' },
              { title: 'CREATED', value: ({ created }) => created.slice(0, 19).replace('T', ' ') },
              { title: 'TREE', value: ({ tree }) => tree.slice(0, 12) },
            ],
            'There are no templates. Make one: templatefs template create NAME, or template import NAME SOURCE',
          ),
        );
        return 0;
      }),
    );
}

function addInfo(template: Command, host: CommandHost): void {
  template
    .command('info')
    .description('show one template')
    .argument('<name>', 'the template')
    .addHelpText('after', examples('templatefs template info debian-12-x86_64'))
    .action((name: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { templateInfo } = await import('../../service/template-info.js');
        session.result(await templateInfo(session.context, name), (info) =>
          formatFields([
            ['name', info.name],
            ['version', String(info.version)],
            ['summary', info.summary],
            ['source', info.source],
            ['created', info.created],
            ['kernel then', info.osRelease],
            ['upgrades', info.upgradableVersions.length === 0 ? null : `from ${info.upgradableVersions.join(', ')}`],
            ['files', `${info.files} with ${formatSize(info.bytes)}, ${info.nodes} inodes in all`],
            ['objects', String(info.objects)],
            ['shared paths', `${info.sharedPaths.length === 0 ? 'none' : info.sharedPaths.join(' ')} (${sharedPathsOwner(info.sharedPathsFrom)})`],
            ['tree', `${info.tree} (${formatSize(info.treeBytes)})`],
            ['command', info.image === null ? null : [...info.image.entrypoint, ...info.image.cmd].join(' ') || 'none'],
            ['user', info.image?.user],
            ['workdir', info.image?.workdir],
            ['containers', info.containers.length === 0 ? 'none' : info.containers.join(', ')],
          ]),
        );
        return 0;
      }),
    );
}

function updatedText(template: UpdatedTemplate): string {
  const { name, version, updated, outdated, definitionChanged, dryRun } = template;
  if (updated) return addedText(template);
  const news = [...outdated.map((one) => `  ${one.name} ${one.from ?? ''} -> ${one.to ?? ''}\n`), ...(definitionChanged ? ['  its definition has changed\n'] : [])];
  return `template ${name} version ${version}: ${dryRun && news.length > 0 ? `would be made anew\n${news.join('')}` : 'up to date\n'}`;
}

function addUpdate(template: Command, host: CommandHost): void {
  template
    .command('update')
    .description('make a new version of a template if its packages are out of date, or its definition has changed; containers keep theirs')
    .argument('<name>', 'a template that was made from a definition, with or without app templates')
    .option('--dry-run', 'show what is out of date')
    .addHelpText('after', examples('templatefs template update debian-12-x86_64', 'templatefs template update debian-12-x86_64-php --dry-run --json'))
    .action((name: string, options: DryRunOptions, command: Command) =>
      host.run(command, async (session) => {
        const { updateTemplate } = await import('../../service/update-template.js');
        session.result(await updateTemplate(session.context, { name, dryRun: options.dryRun === true }), updatedText);
        return 0;
      }),
    );
}

function addRemove(template: Command, host: CommandHost): void {
  template
    .command('remove')
    .alias('rm')
    .description('remove a template that no container uses')
    .argument('<name>', 'the template')
    .option('--dry-run', 'check everything and change nothing')
    .addHelpText('after', examples('templatefs template remove debian-12-x86_64'))
    .action((name: string, options: DryRunOptions, command: Command) =>
      host.run(command, async (session) => {
        const { removeTemplate } = await import('../../service/remove-template.js');
        const done = await removeTemplate(session.context, { name, dryRun: options.dryRun === true });
        session.result(done, ({ removed }) => (removed ? `removed template ${name}\n` : `would remove template ${name}\n`));
        return 0;
      }),
    );
}

export function templateCommand(host: CommandHost): Command {
  const template = new Command('template').description('make, list and remove templates');
  for (const add of [addCreate, addImport, addUpdate, addList, addInfo, addRemove]) add(template, host);
  return template;
}
