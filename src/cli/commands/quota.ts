import { Command } from 'commander';
import { parseInodes } from '../inodes.js';
import { parseSize, formatSize } from '../../core/sizes.js';
import type { NamedQuota } from '../../service/container-quota.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields } from '../output.js';

interface QuotaOptions {
  readonly size?: string;
  readonly inodes?: string;
}

function quotaText(quota: NamedQuota): string {
  const of = (used: string | null, limit: string | null): string => `${used ?? 'not counted'} of ${limit ?? 'no limit'}`;
  return formatFields([
    ['name', quota.name],
    ['size', of(quota.usedBytes === null ? null : formatSize(quota.usedBytes), quota.sizeBytes === null ? null : formatSize(quota.sizeBytes))],
    ['inodes', of(quota.usedInodes === null ? null : String(quota.usedInodes), quota.inodes === null ? null : String(quota.inodes))],
    ['size enforced by', quota.sizeBytes === null ? null : quota.enforcedBy],
  ]);
}

export function quotaCommand(host: CommandHost): Command {
  return new Command('quota')
    .description('show what a container may take, and change it, also while it is mounted')
    .argument('<ct>', 'the container')
    .option('--size <size>', 'space that it may take, as 10G, or none')
    .option('--inodes <n>', 'inodes that it may make, or none')
    .addHelpText('after', examples('templatefs quota c1', 'templatefs quota c1 --size 20G --inodes none'))
    .action((name: string, options: QuotaOptions, command: Command) =>
      host.run(command, async (session) => {
        const { containerQuota, setContainerQuota } = await import('../../service/container-quota.js');
        const change = {
          ...(options.size !== undefined && { sizeBytes: options.size === 'none' ? null : parseSize(options.size) }),
          ...(options.inodes !== undefined && { inodes: options.inodes === 'none' ? null : parseInodes(options.inodes) }),
        };
        const shows = Object.keys(change).length === 0;
        const quota = shows ? await containerQuota(session.context, name) : await setContainerQuota(session.context, name, change);
        session.result(quota, quotaText);
        return 0;
      }),
    );
}
