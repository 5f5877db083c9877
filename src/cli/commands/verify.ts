import { Command } from 'commander';
import { EXIT_STATUS } from '../exit-codes.js';
import { examples, type CommandHost } from '../command-host.js';

export function verifyCommand(host: CommandHost): Command {
  return new Command('verify')
    .description('check every object, tree and container of the store; nothing is changed')
    .addHelpText('after', examples('templatefs verify', "templatefs verify --json | jq '.problems[]'"))
    .action((_options, command: Command) =>
      host.run(command, async (session) => {
        const { verifyStore } = await import('../../service/verify-store.js');
        const found = await verifyStore(session.context);
        session.result(found, ({ objectsChecked, treesChecked, containersChecked, problems }) =>
          [
            ...problems.map(({ kind, name, problem, repair }) => `${kind} ${name}: ${problem}\n  repair: ${repair}`),
            `checked ${objectsChecked} objects, ${treesChecked} trees, ${containersChecked} containers: ${problems.length === 0 ? 'no problems' : `${problems.length} problems`}`,
            '',
          ].join('\n'),
        );
        return found.problems.length === 0 ? 0 : EXIT_STATUS.INTEGRITY;
      }),
    );
}
