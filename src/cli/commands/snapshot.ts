import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatTable } from '../output.js';

interface TakeOptions {
  readonly name?: string;
  readonly comment?: string;
}

/** `snapshot CT`, as lxc-snapshot and prlctl have it, is `snapshot create CT`. */
function addCreate(snapshot: Command, host: CommandHost): void {
  snapshot
    .command('create', { isDefault: true })
    .description('keep a container as it is now, also while it runs')
    .argument('<ct>', 'the container')
    .option('--name <id>', 'name of the snapshot (default: snap0, snap1, …)')
    .option('--comment <text>', 'what it is for')
    .addHelpText('after', examples('templatefs snapshot c1', 'templatefs snapshot c1 --name before-upgrade --comment "PHP 8.2"'))
    .action((container: string, options: TakeOptions, command: Command) =>
      host.run(command, async (session) => {
        const { snapshotContainer } = await import('../../service/snapshot-container.js');
        const taken = await snapshotContainer(session.context, {
          container,
          ...(options.name !== undefined && { id: options.name }),
          ...(options.comment !== undefined && { comment: options.comment }),
        });
        session.result(taken, ({ id }) => `${id}\n`);
        return 0;
      }),
    );
}

function addList(snapshot: Command, host: CommandHost): void {
  snapshot
    .command('list')
    .alias('ls')
    .description('list the snapshots of a container, or of all')
    .argument('[ct]', 'the container')
    .addHelpText('after', examples('templatefs snapshot list c1'))
    .action((container: string | undefined, _options, command: Command) =>
      host.run(command, async (session) => {
        const { listSnapshots } = await import('../../service/list-snapshots.js');
        session.result(listSnapshots(session.context, container), (snapshots) =>
          formatTable(
            snapshots,
            [
              { title: 'CONTAINER', value: ({ container: name }) => name },
              { title: 'ID', value: ({ id }) => id },
              { title: 'CREATED', value: ({ created }) => created.slice(0, 19).replace('T', ' ') },
              { title: 'PURPOSE', value: ({ purpose }) => purpose },
              { title: 'ENTRIES', value: ({ entries }) => String(entries), align: 'right' },
              { title: 'CONTENT', value: ({ bytes }) => formatSize(bytes), align: 'right' },
              { title: 'COMMENT', value: ({ comment }) => comment ?? '' },
            ],
            'There are no snapshots. Take one: templatefs snapshot CT',
          ),
        );
        return 0;
      }),
    );
}

function addRemove(snapshot: Command, host: CommandHost): void {
  snapshot
    .command('remove')
    .alias('rm')
    .description('remove a snapshot')
    .argument('<ct>', 'the container')
    .argument('<id>', 'the snapshot')
    .addHelpText('after', examples('templatefs snapshot remove c1 snap0'))
    .action((container: string, id: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { removeSnapshot } = await import('../../service/snapshot-container.js');
        session.result(await removeSnapshot(session.context, { container, id }), () => `removed snapshot ${id} of ${container}\n`);
        return 0;
      }),
    );
}

export function snapshotCommand(host: CommandHost): Command {
  const snapshot = new Command('snapshot').description('keep containers as they are, list and remove what was kept');
  for (const add of [addCreate, addList, addRemove]) add(snapshot, host);
  return snapshot;
}
