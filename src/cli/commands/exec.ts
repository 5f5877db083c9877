import { Command } from 'commander';
import { collect, examples, type CommandHost } from '../command-host.js';
import { parseEnvironment } from '../environment-option.js';

interface ExecOptions {
  readonly network: boolean;
  readonly env?: string[];
  readonly workdir?: string;
}

export function execCommand(host: CommandHost): Command {
  return new Command('exec')
    .description("run a command in a container's root, in a sandbox; its exit status is passed on")
    .usage('[options] <ct> [-- <command...>]')
    .argument('<ct>', 'the container; it is mounted for the time if need be')
    .argument('[command...]', 'the command and its arguments, after -- (default: what the image says)')
    .option('--no-network', 'run it without any network')
    .option('--env <name=value>', 'set a variable (may be given several times)', collect)
    .option('--workdir <dir>', 'folder in the container to run it in')
    .addHelpText(
      'after',
      examples(
        'templatefs exec c1 -- cat /etc/os-release',
        "templatefs exec c1 -- sh -c 'apt-get update && apt-get install -y python3'",
        'templatefs exec c1 --no-network --env LANG=C.UTF-8 --workdir /srv -- ./run',
      ),
    )
    .action((name: string, words: string[], options: ExecOptions, command: Command) =>
      host.run(command, async (session) => {
        const env = parseEnvironment(options.env);
        const { execInContainer } = await import('../../service/exec-in-container.js');
        return execInContainer(session.context, {
          name,
          command: words,
          network: options.network,
          env,
          onStart: session.leaveSignals,
          ...(options.workdir !== undefined && { workdir: options.workdir }),
        });
      }),
    );
}
