import { Command } from 'commander';
import { TemplatefsError } from '../../core/errors.js';
import { formatSize } from '../../core/sizes.js';
import { collect, examples, type CommandHost } from '../command-host.js';
import { EXIT_STATUS } from '../exit-codes.js';

export function statusCommand(host: CommandHost): Command {
  return new Command('status')
    .description('which packages of a container are out of date (exit status 3 if there are any)')
    .argument('<ct>', 'the container')
    .option('--cached', 'do not ask the mirrors: by the metadata that are there')
    .addHelpText('after', examples('templatefs status c1', 'templatefs status c1 --json'))
    .action((name: string, options: { readonly cached?: boolean }, command: Command) =>
      host.run(command, async (session) => {
        const { packageStatus } = await import('../../service/package-status.js');
        const status = await packageStatus(session.context, { name, maxAgeMs: options.cached === true ? Infinity : 0 });
        session.result(status, ({ outdated, upToDate }) =>
          upToDate ? `${name}: up to date\n` : `${name}: ${outdated.length} packages out of date\n${outdated.map((one) => `  ${one.name} ${one.from ?? ''} -> ${one.to ?? ''}\n`).join('')}`,
        );
        return status.upToDate ? 0 : EXIT_STATUS.PARTIAL;
      }),
    );
}

export function fetchCommand(host: CommandHost): Command {
  return new Command('fetch')
    .description('download ahead what containers of an OS template need, for hosts without a network')
    .argument('<ostemplate>', 'an OS template of the store')
    .argument('[apptemplate...]', 'app templates')
    .option('-p, --package <name>', 'a package (again for more)', collect)
    .addHelpText('after', examples('templatefs fetch debian-12-x86_64 php nginx', 'templatefs fetch debian-12-x86_64 -p curl'))
    .action((template: string, apps: string[], options: { readonly package?: string[] }, command: Command) =>
      host.run(command, async (session) => {
        const { fetchAhead } = await import('../../service/fetch-ahead.js');
        const done = await fetchAhead(session.context, { template, apps, packages: options.package ?? [] });
        session.result(done, ({ packages, bytes, downloadedBytes }) => `${packages} packages (${formatSize(bytes)}) are in the cache; downloaded: ${formatSize(downloadedBytes)}\n`);
        return 0;
      }),
    );
}

export function cleanCommand(host: CommandHost): Command {
  return new Command('clean')
    .description('remove downloaded packages from the cache; containers keep what they have')
    .option('--metadata', 'also metadata of repositories')
    .addHelpText('after', examples('templatefs clean', 'templatefs clean --metadata'))
    .action((options: { readonly metadata?: boolean }, command: Command) =>
      host.run(command, async (session) => {
        const { requireRoot } = await import('../../service/context.js');
        const { PackageCache } = await import('../../packages/package-cache.js');
        requireRoot('change a store');
        const done = new PackageCache(session.context.paths).clean({ metadata: options.metadata === true });
        session.result(done, ({ files, bytes }) => `removed ${files} files, ${formatSize(bytes)}\n`);
        return 0;
      }),
    );
}

export function rollbackCommand(host: CommandHost): Command {
  return new Command('rollback')
    .description('undo the last install, update or remove in a container')
    .argument('<ct>', 'the container')
    .argument('[transaction]', 'its number, as install prints it (default: the last one)')
    .option('-f, --force', 'also if its paths were changed by something else since')
    .option('--dry-run', 'check, and name what was changed since')
    .addHelpText('after', examples('templatefs rollback c1', 'templatefs rollback c1 7 --dry-run --json'))
    .action((name: string, text: string | undefined, options: { readonly force?: boolean; readonly dryRun?: boolean }, command: Command) =>
      host.run(command, async (session) => {
        if (text !== undefined && !/^[1-9]\d{0,8}$/.test(text)) throw new TemplatefsError('USAGE', `not the number of a transaction: ${JSON.stringify(text)}`, { hint: 'install, update and remove print it' });
        const { rollBack } = await import('../../service/roll-back.js');
        const done = await rollBack(session.context, { name, force: options.force === true, dryRun: options.dryRun === true, ...(text !== undefined && { transaction: Number(text) }) });
        session.result(done, ({ transaction, operation, paths, changedSince, dryRun }) =>
          `${dryRun ? 'would undo' : 'undid'} transaction ${transaction} (${operation}): ${paths} paths${changedSince.length === 0 ? '' : `, of which were changed since:\n${changedSince.map((path) => `  ${path}`).join('\n')}`}\n`,
        );
        return 0;
      }),
    );
}
