import { Command } from 'commander';
import { formatSize } from '../../core/sizes.js';
import type { ExplainedPath } from '../../service/explain-path.js';
import { examples, type CommandHost } from '../command-host.js';
import { formatFields } from '../output.js';

const SOURCES: Readonly<Record<ExplainedPath['source'], string>> = {
  template: 'the template, as it is',
  link: 'a link: metadata of its own, content shared',
  partial: 'partly its own, partly shared',
  private: 'the container’s own',
};

/** More names than this are counted. */
const NAMED = 12;

function names(list: readonly string[]): string | null {
  if (list.length === 0) return null;
  return `${list.slice(0, NAMED).join(' ')}${list.length > NAMED ? ` and ${list.length - NAMED} more` : ''}`;
}

function text(one: ExplainedPath): string {
  const others = one.sharedWith?.containers.filter((name) => name !== one.container) ?? [];
  return formatFields([
    ['path', one.path],
    ['type', one.type],
    ['content', SOURCES[one.source]],
    ['template', one.template.name],
    ['package', one.package === null ? null : `${one.package.name} ${one.package.version}`],
    ['change', one.change],
    ['why', one.why],
    ['size', `${formatSize(one.sizeBytes)}, ${formatSize(one.allocatedBytes)} on the disk`],
    ['object', one.object?.id],
    ['in templates', names(one.sharedWith?.templates ?? [])],
    ['in containers', names(others)],
    ['in snapshots', names(one.sharedWith?.snapshots ?? [])],
    ['page cache', one.pageCache === null ? null : `${formatSize(one.pageCache.residentBytes)}, ${one.pageCache.shared ? 'the same pages for all containers' : 'pages of this root may be beside these'}`],
  ]);
}

export function explainCommand(host: CommandHost): Command {
  return new Command('explain')
    .description('say where what a path shows comes from, who else has it, and why it is private where it is')
    .argument('<ct>', 'the container')
    .argument('<path>', 'as the container sees it')
    .addHelpText('after', examples('templatefs explain c1 /usr/bin/perl', 'templatefs explain c1 /etc/passwd --json | jq -r .why'))
    .action((name: string, path: string, _options, command: Command) =>
      host.run(command, async (session) => {
        const { explainPath } = await import('../../service/explain-path.js');
        session.result(await explainPath(session.context, name, path), text);
        return 0;
      }),
    );
}
