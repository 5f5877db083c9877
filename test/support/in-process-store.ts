import { PROJECT } from './project.js';
import type { Ended, RunOptions } from './run-program.js';
import { TestStore } from './test-store.js';

interface CommandLine {
  readonly runCommandLine: (argv: readonly string[], interrupts: { signal: AbortSignal; leave: () => void }) => Promise<number>;
}

type Write = typeof process.stdout.write;

/**
 * A store whose commands run in the test's own process: starting Node.js costs more than most of them do. One at a time; a
 * command that is given options of its process gets a process.
 */
export class InProcessStore extends TestStore {
  override async run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    if (Object.keys(options).length > 0) return super.run(args, options);
    const { runCommandLine } = (await import(`${PROJECT}dist/cli/main.js`)) as CommandLine;
    const said = { stdout: '', stderr: '' };
    const writes = { stdout: process.stdout.write.bind(process.stdout), stderr: process.stderr.write.bind(process.stderr) };
    const capture = (name: keyof typeof said): Write =>
      (text: string | Uint8Array) => {
        said[name] += typeof text === 'string' ? text : Buffer.from(text).toString('utf8');
        return true;
      };
    process.stdout.write = capture('stdout');
    process.stderr.write = capture('stderr');
    try {
      const status = await runCommandLine(['--store', this.path, ...args], { signal: new AbortController().signal, leave: () => undefined });
      return { status, signal: null, ...said };
    } finally {
      process.stdout.write = writes.stdout;
      process.stderr.write = writes.stderr;
    }
  }

  override async ok(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(args);
    if (status !== 0) throw new Error(`\`templatefs ${args.join(' ')}\` ended with ${String(status)}\n${stderr}`);
    return stdout.replace(/\n$/, '');
  }

  override async json(...args: string[]): Promise<unknown> {
    return JSON.parse(await this.ok('--json', ...args)) as unknown;
  }
}
