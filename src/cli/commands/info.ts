import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import type { ContainerInfo } from '../../service/container-info.js';
import type { ContainerQuota } from '../../service/container-quota.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields, sharedPathsOwner } from '../output.js';

function used(count: number | null, format: (count: number) => string): string {
  return count === null ? 'unknown' : format(count);
}

function quotaText(quota: ContainerQuota | null): string | null {
  if (quota === null) return null;
  const parts = [
    quota.sizeBytes === null ? undefined : `${used(quota.usedBytes, formatSize)} of ${formatSize(quota.sizeBytes)} (${quota.enforcedBy})`,
    quota.inodes === null ? undefined : `${used(quota.usedInodes, String)} of ${quota.inodes} inodes`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function idMapText({ uids, gids }: NonNullable<ContainerInfo['idMap']>): string {
  const [users, groups] = [uids.join(' '), gids.join(' ')];
  return users === groups ? users : `users ${users}, groups ${groups}`;
}

function infoText(info: ContainerInfo): string {
  const passthrough = info.passthrough === true ? 'yes' : `no (${info.passthroughReason ?? 'unknown'})`;
  return formatFields([
    ['name', info.name],
    ['ostemplate', info.ostemplate],
    ['app templates', info.apptemplates.length === 0 ? null : info.apptemplates.join(', ')],
    ['state', info.state],
    ['root', info.root],
    ['engine', info.enginePid === null ? null : `${info.engineVersion ?? 'unknown version'}, pid ${info.enginePid}, ${info.engineRestarts ?? 'unknown'} restarts`],
    ['passthrough', info.passthrough === null ? null : passthrough],
    ['private', `${formatSize(info.privateBytes)} in ${info.privateFiles} files`],
    ['links', String(info.links)],
    ['snapshots', info.snapshots.length === 0 ? null : info.snapshots.join(' ')],
    ['id map', info.idMap === null ? null : idMapText(info.idMap)],
    ['shared paths', `${info.sharedPaths.length === 0 ? 'none' : info.sharedPaths.join(' ')} (${sharedPathsOwner(info.sharedPathsFrom)})`],
    ['quota', quotaText(info.quota)],
    ['tree', info.tree],
    ['created', info.created],
    ['left over', info.stale === null ? null : `${info.stale}; the next mount or umount clears it away`],
  ]);
}

export function infoCommand(host: CommandHost): Command {
  return new Command('info')
    .description('show one container')
    .argument('<ct>', 'the container')
    .addHelpText('after', examples('templatefs info c1', 'templatefs info c1 --json'))
    .action((name: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { containerInfo } = await import('../../service/container-info.js');
        session.result(await containerInfo(session.context, name), infoText);
        return 0;
      }),
    );
}
