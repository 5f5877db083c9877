import { Command } from 'commander';
import type { ExplainedChange } from '../../service/diff-container.js';
import { examples, type CommandHost } from '../command-host.js';

function reasonText({ reason, package: owner }: ExplainedChange): string {
  return owner === undefined ? reason : `${reason} ${owner.name} ${owner.version}`;
}

export function diffCommand(host: CommandHost): Command {
  return new Command('diff')
    .description('list what a container has changed: A added, C changed, D deleted')
    .argument('<ct>', 'the container')
    .option('--oci', 'as an OCI layer has it: add, modify, delete; what was moved is deleted and added')
    .option('--reasons', 'say why: written, metadata, or the package that it belongs to')
    .addHelpText('after', examples('templatefs diff c1', 'templatefs diff c1 --reasons', "templatefs diff c1 --json | jq -r '.[].path'"))
    .action((name: string, options: { readonly reasons?: boolean; readonly oci?: boolean }, command: Command) =>
      host.run(command, async (session) => {
        if (options.oci === true) {
          const { diffInOciTerms } = await import('../../service/diff-container.js');
          session.result(await diffInOciTerms(session.context, name), (changes) => changes.map(({ kind, path }) => `${kind} ${path}\n`).join(''));
          return 0;
        }
        const { diffContainer } = await import('../../service/diff-container.js');
        session.result(await diffContainer(session.context, name), (changes) =>
          changes.map((one) => `${one.letter} ${one.path}${one.from === undefined ? '' : ` (was ${one.from})`}${options.reasons === true ? `  ${reasonText(one)}` : ''}\n`).join(''),
        );
        return 0;
      }),
    );
}
