import { spawn, type ChildProcess } from 'node:child_process';

/** How a program ended, and what it wrote. */
export interface LaunchResult {
  /** As a shell says it: above 128 for a signal. */
  readonly status: number;
  readonly output: string;
}

/**
 * Reads pairs of lines, a number and a command, runs the commands beside one another, and answers each with `NUMBER STATUS\n`, what it wrote, and
 * a zero byte: in one write, so that answers do not mix (PIPE_BUF).
 */
const LOOP = `
while IFS= read -r number && IFS= read -r command; do
  (
    output=$(eval "exec $command" < /dev/null 2>&1)
    printf '%s %s\\n%.3500s\\0' "$number" "$?" "$output"
  ) &
done
wait
`;

/** Far longer than any engine takes to start: the shell's child that waits for one was killed, and nobody will answer. */
const LONGEST_MS = 120_000;

/** As one word of a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** One shell, and those who wait for its answers. */
class Shell {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { done: (result: LaunchResult) => void; fail: (error: Error) => void; timer: NodeJS.Timeout }>();
  readonly #longestMs: number;
  #heard = '';
  #last = 0;
  hasEnded = false;

  constructor(longestMs: number) {
    this.#longestMs = longestMs;
    // A group of its own: an interrupt from the terminal is for the owner to decide on.
    const shell = spawn('/bin/sh', ['-c', LOOP], { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    this.#process = shell;
    shell.stdin.on('error', () => undefined);
    shell.stdout.setEncoding('utf8').on('data', (text: string) => { this.#hear(text); });
    shell.on('error', (error) => { this.#end(error); });
    shell.on('exit', () => { this.hasEnded = true; });
    // What it had begun goes on without it, and answers.
    shell.on('close', () => { this.#end(); });
  }

  ask(command: string): Promise<LaunchResult> {
    const number = ++this.#last;
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(number);
        fail(new Error(`no answer within ${this.#longestMs / 1000} s`));
      }, this.#longestMs);
      this.#waiting.set(number, { done, fail, timer });
      this.#process.stdin?.write(`${number}\n${command}\n`);
    });
  }

  end(): void {
    this.#process.stdin?.end();
  }

  #hear(text: string): void {
    const answers = (this.#heard + text).split('\0');
    this.#heard = answers.pop() ?? '';
    for (const answer of answers) {
      const match = /^(\d+) (\d+)\n([^]*)$/.exec(answer);
      const number = Number(match?.[1]);
      const waiting = this.#waiting.get(number);
      this.#waiting.delete(number);
      clearTimeout(waiting?.timer);
      waiting?.done({ status: Number(match?.[2]), output: match?.[3] ?? '' });
    }
  }

  #end(cause?: Error): void {
    this.hasEnded = true;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { fail, timer } of waiting) {
      clearTimeout(timer);
      fail(new Error('the shell that starts engines has ended', { cause }));
    }
  }
}

/**
 * Starts programs for a process with much memory: fork(2) of a Node.js process takes it 5 to 8 ms, in which it can do nothing else, that of a
 * shell a fraction of one. The shell is started with the first program, and ends with its owner.
 */
export class EngineLauncher implements Disposable {
  #shell: Shell | undefined;
  readonly #longestMs: number;

  constructor({ longestMs = LONGEST_MS }: { /** How long a program may run. */ readonly longestMs?: number } = {}) {
    this.#longestMs = longestMs;
  }

  /** Whether a command can be written as a line. */
  static takes(words: readonly string[]): boolean {
    return words.every((word) => !/[\n\0]/.test(word));
  }

  /** Runs a program to its end. @throws when what ran it was killed, or after `longestMs`: then nobody knows how far the program came */
  async run(words: readonly string[]): Promise<LaunchResult> {
    if (this.#shell === undefined || this.#shell.hasEnded) this.#shell = new Shell(this.#longestMs);
    return await this.#shell.ask(words.map(quoted).join(' '));
  }

  [Symbol.dispose](): void {
    this.#shell?.end();
    this.#shell = undefined;
  }
}
