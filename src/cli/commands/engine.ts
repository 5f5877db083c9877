import { Command } from 'commander';
import { TemplatefsError } from '../../core/errors.js';
import type { UpgradedEngines } from '../../service/upgrade-engines.js';
import { examples, type CommandHost } from '../command-host.js';
import { EXIT_STATUS } from '../exit-codes.js';

interface UpgradeOptions {
  readonly all?: boolean;
  readonly engine?: string;
}

interface HelperOptions {
  readonly remove?: boolean;
  readonly directory: string;
}

function upgradedText({ containers, failed, engineVersion }: UpgradedEngines): string {
  const lines = containers.map(({ name, from, to }) => (to === null ? `${name} is not mounted: its next mount starts the new engine` : `${name}: engine ${from ?? 'of an unknown version'} replaced by ${to}`));
  if (lines.length + failed.length === 0) lines.push(`no container is mounted; the next mount starts engine ${engineVersion}`);
  return [...lines, ...failed.map(({ name, message }) => `${name}: failed: ${message}`), ''].join('\n');
}

export function engineCommand(host: CommandHost): Command {
  const upgrade = new Command('upgrade')
    .description('put the installed engine under mounted containers; for them it is a pause')
    .argument('[ct]', 'the container')
    .option('--all', 'all that are mounted; goes on when one fails (status 3)')
    .option('--engine <file>', 'this engine instead of the installed one')
    .addHelpText('after', examples('templatefs engine upgrade c1', 'templatefs engine upgrade --all'))
    .action((name: string | undefined, options: UpgradeOptions, command: Command) =>
      host.run(command, async (session) => {
        if ((name === undefined) !== (options.all === true)) {
          throw new TemplatefsError('USAGE', 'engine upgrade takes a container, or --all', { hint: 'templatefs engine upgrade CT, or: templatefs engine upgrade --all' });
        }
        const { upgradeEngines } = await import('../../service/upgrade-engines.js');
        const done = await upgradeEngines(session.context, { ...(name !== undefined && { name }), ...(options.engine !== undefined && { engine: options.engine }) });
        session.result(done, upgradedText);
        return done.failed.length === 0 ? 0 : EXIT_STATUS.PARTIAL;
      }),
    );
  const helper = new Command('mount-helper')
    .description('let mount(8) and /etc/fstab mount containers: links to the engine in /sbin')
    .option('--remove', 'remove them')
    .option('--directory <dir>', 'in this folder instead of /sbin', '/sbin')
    .addHelpText('after', examples('templatefs engine mount-helper', 'mount -t fuse.templatefs c1 /mnt', 'templatefs engine mount-helper --remove'))
    .action((options: HelperOptions, command: Command) =>
      host.run(command, async (session) => {
        const { installHelperLinks, removeHelperLinks } = await import('../../service/mount-helper-links.js');
        const done = options.remove === true ? removeHelperLinks(options.directory) : await installHelperLinks(options.directory);
        session.result(done, ({ links, engine }) => (links.length === 0 ? 'removed\n' : links.map((link) => `${link} -> ${engine}\n`).join('')));
        return 0;
      }),
    );
  return new Command('engine').description('the processes that serve mounted containers').addCommand(upgrade).addCommand(helper);
}
