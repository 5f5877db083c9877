import { resolve } from 'node:path';
import { Command } from 'commander';
import { TemplatefsError } from '../../core/errors.js';
import { formatSize } from '../../core/sizes.js';
import type { ChangeOperation, ChangedPackages, ChangePackagesOptions } from '../../service/change-packages.js';
import { collect, examples, type CommandHost } from '../command-host.js';
import { EXIT_STATUS } from '../exit-codes.js';
import type { Session } from '../session.js';

/** What `install`, `update`, `remove` and `localinstall` take. */
interface PackageOptions {
  readonly package?: string[] | boolean;
  readonly group?: string[];
  readonly force?: boolean;
  readonly withDependants?: boolean;
  readonly dryRun?: boolean;
  readonly paths?: boolean;
  readonly refresh?: boolean;
  readonly replay?: boolean;
  readonly all?: boolean;
  readonly jobs?: string;
}

function changesText(changed: ChangedPackages): string {
  const { name, packages, dryRun, downloadBytes, addedBytes, linkedBytes, seconds, transaction, templates, replayed } = changed;
  if (packages.length === 0) return templates.length > 0 && !dryRun && transaction !== null ? `${name}: done, no package changed\n` : `${name}: nothing to do\n`;
  const lines = packages.map(({ action, name: packageName, from, to }) => `  ${action} ${packageName} ${[from, to].filter((version) => version !== null).join(' -> ')}`);
  const summary = dryRun
    ? `${name}: would change ${packages.length} packages, download ${formatSize(downloadBytes)}`
    : `${name}: changed ${packages.length} packages in ${seconds} s${replayed ? ', as in a container before' : ''}; new in the store: ${formatSize(addedBytes)}, shared: ${formatSize(linkedBytes)} (transaction ${transaction ?? 0})`;
  return `${summary}\n${lines.join('\n')}\n${dryRun ? pathsText(changed) : ''}`;
}

function pathsText({ paths, scripts }: ChangedPackages): string {
  if (paths === null) return '';
  const lines = paths.map(({ letter, path, package: packageName, configuration }) => `  ${letter} ${path}  ${packageName}${configuration ? ', configuration' : ''}\n`);
  const others = scripts.length === 0 ? '' : `scripts may change other paths, those of: ${scripts.join(', ')}\n`;
  return `paths: ${paths.length} (A added, C replaced, D removed)\n${lines.join('')}${others}`;
}

function parseJobs(text: string | undefined): { jobs: number } | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d?$/.test(text)) throw new TemplatefsError('USAGE', `not a number of jobs: ${JSON.stringify(text)}`, { hint: 'for example: --jobs 2' });
  return { jobs: Number(text) };
}

/** Which containers are meant, and what else was named: `c1,c2 php`, or with `--all` `php`. */
async function subjects(session: Session, words: readonly string[], all: boolean): Promise<{ containers: readonly string[]; names: readonly string[] }> {
  if (all) {
    const { listContainers } = await import('../../service/list-containers.js');
    const { isTemporary } = await import('../../service/temporary-name.js');
    return { containers: (await listContainers(session.context)).map(({ name }) => name).filter((name) => !isTemporary(name)), names: words };
  }
  const [first, ...names] = words;
  if (first === undefined) throw new TemplatefsError('USAGE', 'no container named', { hint: 'name one, several with commas (c1,c2), or all of them with --all' });
  return { containers: [...new Set(first.split(',').filter((name) => name !== ''))], names };
}

function named(operation: ChangeOperation, names: readonly string[], options: PackageOptions): Pick<ChangePackagesOptions, 'templates' | 'packages' | 'groups' | 'files'> {
  const packages = Array.isArray(options.package) ? options.package : [];
  const { group: groups = [] } = options;
  if (operation === 'localinstall') return { files: names.map((file) => resolve(file)) };
  if (operation !== 'update' && names.length + packages.length + groups.length === 0) {
    throw new TemplatefsError('USAGE', `nothing named to ${operation}`, { hint: `name app templates, or packages with -p: templatefs ${operation} CT -p NAME` });
  }
  return { templates: names, packages, groups };
}

async function change(session: Session, operation: ChangeOperation, words: readonly string[], options: PackageOptions): Promise<number> {
  const { containers, names } = await subjects(session, words, options.all === true);
  const common = {
    operation,
    ...named(operation, names, options),
    force: options.force === true,
    withDependants: options.withDependants === true,
    dryRun: options.dryRun === true,
    paths: options.paths !== false,
    refresh: options.refresh === true,
    replay: options.replay !== false,
  };
  const [only] = containers;
  if (containers.length === 1 && only !== undefined && options.all !== true) {
    const { changePackages } = await import('../../service/change-packages.js');
    session.result(await changePackages(session.context, { ...common, container: only }), changesText);
    return 0;
  }
  const { changeMany } = await import('../../service/change-many.js');
  const done = await changeMany(session.context, { ...common, containers, ...parseJobs(options.jobs) });
  session.result(done, ({ containers: changed, failed, seconds }) => {
    const lines = changed.map((one) => `${one.name}: ${one.packages.length} packages, ${one.seconds} s`);
    const failures = failed.map(({ name, message }) => `${name}: failed: ${message}`);
    return [...lines, ...failures, `${changed.length} of ${changed.length + failed.length} containers in ${seconds} s`, ''].join('\n');
  });
  return done.failed.length === 0 ? 0 : EXIT_STATUS.PARTIAL;
}

function changeCommand(host: CommandHost, operation: ChangeOperation, description: string, lines: readonly string[]): Command {
  const command = new Command(operation)
    .description(description)
    .usage(operation === 'localinstall' ? '[options] <ct> <file...>' : '[options] <ct> [template...]')
    .argument('[words...]', operation === 'localinstall' ? 'the container, then package files' : 'the container (or several: c1,c2), then app templates')
    .option('-f, --force', operation === 'remove' ? 'also if a script of the definition fails' : 'also what is installed already, older versions, and packages on hold')
    .option('--dry-run', 'show what would be done: packages, and the paths that they name; packages are downloaded for that')
    .option('--no-paths', 'with --dry-run: packages only, nothing is downloaded')
    .option('--all', 'in all containers')
    .option('--jobs <n>', 'containers at once')
    .option('--no-replay', 'let the package manager do it, also if another container in the same state had the same done')
    .addHelpText('after', examples(...lines));
  if (operation !== 'localinstall') {
    command.option('-p, --package <name>', 'a package of the distribution (again for more)', collect);
    command.option('-g, --group <name>', 'a group of packages: an apt task, dnf group or zypper pattern (again for more)', collect);
  }
  if (operation === 'remove') command.option('-w, --with-dependants', 'also packages that need these');
  else command.option('--refresh', 'ask the mirrors for news, however lately that was done');
  return command.action((words: string[], options: PackageOptions, self: Command) => host.run(self, (session) => change(session, operation, words, options)));
}

export function installCommand(host: CommandHost): Command {
  return changeCommand(host, 'install', 'install app templates or packages into a container', [
    'templatefs install c1 php nginx', 'templatefs install c1 -p curl -p jq', 'templatefs install c1,c2,c3 redis', 'templatefs install --all php --dry-run',
  ]);
}

export function updateCommand(host: CommandHost): Command {
  return changeCommand(host, 'update', "bring a container's packages up to date: all, those of app templates, or some", [
    'templatefs update c1', 'templatefs update c1 php', 'templatefs update --all',
  ]);
}

export function removeCommand(host: CommandHost): Command {
  return changeCommand(host, 'remove', 'remove app templates or packages from a container', ['templatefs remove c1 php', 'templatefs remove c1 -p curl --with-dependants']);
}

export function localinstallCommand(host: CommandHost): Command {
  return changeCommand(host, 'localinstall', 'install package files of the host into a container; what they need comes from its repositories', ['templatefs localinstall c1 ./tool_1.0_amd64.deb']);
}
