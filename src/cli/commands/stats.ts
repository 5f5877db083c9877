import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import type { Statistics } from '../../service/statistics.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields, formatTable } from '../output.js';

function statsText({ disk, memory, containers }: Statistics): string {
  const ratio = disk.ratio === null ? '' : ` (ratio ${disk.ratio.toFixed(2)})`;
  return [
    'Disk\n',
    formatFields([
      ['  without sharing', formatSize(disk.logicalBytes)],
      ['  with templatefs', formatSize(disk.storedBytes)],
      ['  saved', `${formatSize(disk.savedBytes)}${ratio}`],
    ]),
    '\nMemory (page cache of shared files)\n',
    formatFields([
      ['  without sharing', formatSize(memory.withoutSharingBytes)],
      ['  with templatefs', formatSize(memory.residentBytes)],
      ['  saved', formatSize(memory.savedBytes)],
    ]),
    '\n',
    formatTable(
      containers,
      [
        { title: 'CONTAINER', value: ({ name }) => name },
        { title: 'LOGICAL', value: ({ logicalBytes }) => formatSize(logicalBytes), align: 'right' },
        { title: 'PRIVATE', value: ({ privateBytes }) => formatSize(privateBytes), align: 'right' },
        { title: 'LINKED', value: ({ linkedBytes }) => formatSize(linkedBytes), align: 'right' },
        { title: 'LINKS', value: ({ links }) => String(links), align: 'right' },
      ],
      'There are no containers.',
    ),
  ].join('');
}

export function statsCommand(host: CommandHost): Command {
  return new Command('stats')
    .description('show what sharing saves on disk and in memory')
    .argument('[ct]', 'only this container, as if it were alone in the store')
    .addHelpText('after', examples('templatefs stats', 'templatefs stats --json | jq .disk.ratio'))
    .action((name: string | undefined, _options, command: Command) =>
      host.run(command, async (session) => {
        const { statistics } = await import('../../service/statistics.js');
        session.result(await statistics(session.context, name), statsText);
        return 0;
      }),
    );
}
