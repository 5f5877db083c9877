import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { TemplatefsError, diskError, errnoOf } from '../core/errors.js';
import { examples, type CommandHost } from './command-host.js';
import { commandsFor } from './command-list.js';
import { EXIT_STATUS, exitStatusOf } from './exit-codes.js';
import { formatError, formatJsonError } from './output.js';
import { openSession, type GlobalOptions, type Interrupts } from './session.js';

/*
 * Commands import what they need when they run, not when they are declared: most of the time of a short command would
 * otherwise go into loading code that it does not use.
 */

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** commander writes its errors with what was wrong in front; ours say so in their own way. */
function usageError(error: CommanderError): TemplatefsError {
  const message = error.code === 'commander.help' ? 'no command given' : error.message.replace(/^error: /, '');
  return new TemplatefsError('USAGE', message, {
    hint: 'see `templatefs --help`, and `templatefs COMMAND --help` for one command',
    cause: error,
  });
}

async function buildProgram(host: CommandHost, argv: readonly string[]): Promise<Command> {
  const program = new Command('templatefs')
    .description('Roots for containers that share what is equal: on disk and in memory.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .option('--store <dir>', 'the store (default: TEMPLATEFS_STORE, else /var/lib/templatefs)')
    .option('--json', 'print one JSON document; errors as JSON too')
    .option('-q, --quiet', 'print results and errors only')
    .option('--no-progress', 'draw no progress bar')
    .option('--wait <seconds>', 'wait for other commands instead of giving up when something is in use')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => undefined })
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      examples(
        'templatefs template create debian-12-x86_64',
        'templatefs create c1 --ostemplate debian-12-x86_64',
        'templatefs exec c1 -- cat /etc/os-release',
        'templatefs stats',
      ),
    );
  for (const { load } of commandsFor(argv)) inherit(program, (await load())(host));
  return program;
}

/** Gives a command and its subcommands the program's ways with errors and help. */
function inherit(parent: Command, command: Command): void {
  parent.addCommand(command);
  command.copyInheritedSettings(parent);
  for (const child of command.commands) child.copyInheritedSettings(parent);
}

/** Whether the user asked for JSON, for errors that come before the options are parsed. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end < 0 ? argv : argv.slice(0, end)).includes('--json');
}

/** A reader that went away (`templatefs list | head -1`) is no error. */
function ignoreClosedPipe(): void {
  process.stdout.on('error', (error) => {
    if (errnoOf(error) === 'EPIPE') process.exit(0);
    throw error;
  });
  process.stderr.on('error', () => undefined);
}

/** Without it Node.js ends, with status 13 and no word, when a command waits for what nothing can bring any more. */
function refuseSilentEnd(argv: readonly string[]): void {
  process.once('beforeExit', () => {
    report(new Error('it waited for something that cannot come any more, and did not come to its end'), argv);
    process.exit(1);
  });
}

function report(error: unknown, argv: readonly string[]): void {
  process.stderr.write(asksForJson(argv) ? formatJsonError(error) : formatError(error));
}

/** The first signal asks the command to stop and clean up; the second ends it at once. */
function watchSignals(): Interrupts {
  const controller = new AbortController();
  let left = false;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (left) return;
      if (controller.signal.aborted) process.exit(EXIT_STATUS.INTERRUPTED);
      controller.abort(new TemplatefsError('INTERRUPTED', `interrupted by ${name}; nothing is left half done`));
    });
  }
  const leave = (): void => {
    left = true;
  };
  return { signal: controller.signal, leave };
}

/** After an interrupt whatever a command stumbled over is a consequence of it. */
function errorToReport(thrown: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  return thrown instanceof CommanderError ? usageError(thrown) : diskError(thrown);
}

/**
 * Runs the program as a process of its own. @param argv the arguments after the program's name @returns the exit status;
 * all that can go wrong has been printed
 */
export async function main(argv: readonly string[]): Promise<number> {
  ignoreClosedPipe();
  refuseSilentEnd(argv);
  return await runCommandLine(argv, watchSignals());
}

/** Runs one command line; the caller cares for signals and closed pipes. @returns the exit status */
export async function runCommandLine(argv: readonly string[], interrupts: Interrupts): Promise<number> {
  let status = 0;
  const host: CommandHost = {
    async run(command, work) {
      const session = openSession(command.optsWithGlobals<GlobalOptions>(), interrupts);
      try {
        status = (await work(session)) ?? 0;
      } finally {
        session.bar.clear();
      }
    },
  };
  try {
    const program = await buildProgram(host, argv);
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (thrown) {
    // Help and version come as errors too.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    const error = errorToReport(thrown, interrupts.signal);
    if (process.env['TEMPLATEFS_DEBUG'] === '1') console.error(thrown);
    // commander has printed the help for a command line that names no command.
    if (asksForJson(argv) || !(thrown instanceof CommanderError && thrown.code === 'commander.help')) report(error, argv);
    return exitStatusOf(error);
  }
}
