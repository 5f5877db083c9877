import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields } from '../output.js';

export function duCommand(host: CommandHost): Command {
  return new Command('du')
    .description('what a container takes, in all or below a path: what it shows, what is shared, what is its own')
    .argument('<ct>', 'the container')
    .argument('[path]', 'as the container sees it; else all of it')
    .addHelpText('after', examples('templatefs du c1', 'templatefs du c1 /usr --json'))
    .action((name: string, path: string | undefined, _options, command: Command) =>
      host.run(command, async (session) => {
        const { diskUsage } = await import('../../service/disk-usage.js');
        session.result(await diskUsage(session.context, name, path), (one) =>
          formatFields([
            ['path', one.path],
            ['entries', `${one.entries}, ${one.files} of them files`],
            ['apparent', formatSize(one.apparentBytes)],
            ['on the disk', formatSize(one.allocatedBytes)],
            ['shared', `${formatSize(one.sharedBytes)}: others need it, too`],
            ['exclusive', `${formatSize(one.exclusiveBytes)}: would go with the container`],
            ['private area', formatSize(one.privateBytes)],
          ]),
        );
        return 0;
      }),
    );
}
