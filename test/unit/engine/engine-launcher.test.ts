import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EngineLauncher } from '../../../src/engine/engine-launcher.js';

describe('a launcher', () => {
  test('runs programs beside one another and gives each its own answer', async () => {
    using launcher = new EngineLauncher();
    const results = await Promise.all(Array.from({ length: 40 }, (_, number) => launcher.run(['sh', '-c', `echo first ${number}; echo "x" >&2; exit ${number}`])));
    for (const [number, { status, output }] of results.entries()) {
      expect(status).toBe(number);
      expect(output.split('\n').sort()).toEqual([`first ${number}`, 'x']);
    }
  });

  test('passes each word as it is', async () => {
    using launcher = new EngineLauncher();
    const words = ["it's", '$(false)', '`x`', 'a b', '', '\\', '"', '*', 'ä', '-n'];
    const { output } = await launcher.run(['printf', '[%s]', ...words]);
    expect(output).toBe(words.map((word) => `[${word}]`).join(''));
    expect(EngineLauncher.takes(words)).toBe(true);
    expect(EngineLauncher.takes(['a\nb'])).toBe(false);
    expect(EngineLauncher.takes(['a\0b'])).toBe(false);
  });

  test('says by which signal a program ended, and that there was none to start', async () => {
    using launcher = new EngineLauncher();
    expect((await launcher.run(['sh', '-c', 'kill -9 $$'])).status).toBe(128 + 9);
    expect((await launcher.run(['/nowhere/to/be/found'])).status).toBe(127);
  });

  test('shortens what is too long for one write, and mixes nothing', async () => {
    using launcher = new EngineLauncher();
    const results = await Promise.all(['a', 'b', 'c', 'd'].map((letter) => launcher.run(['sh', '-c', `head -c 100000 /dev/zero | tr '\\0' ${letter}`])));
    for (const [index, { output }] of results.entries()) expect(output).toBe('abcd'.charAt(index).repeat(3500));
  });

  test('goes on when its shell is killed, with what was under way and with another shell', async () => {
    using launcher = new EngineLauncher();
    const shell = await shellOf(launcher);
    const folder = mkdtempSync(join(tmpdir(), 'launcher-'));
    onTestFinished(() => { rmSync(folder, { recursive: true }); });
    const begun = join(folder, 'begun');
    const running = launcher.run(['sh', '-c', 'echo > "$1"; sleep 0.5; echo done', 'sh', begun]);
    await until(() => existsSync(begun));
    process.kill(shell, 'SIGKILL');
    await ended(shell);
    // Node.js may not know yet that it has ended: who asks in that moment is told.
    const { status } = await launcher.run(['true']).catch(() => launcher.run(['true']));
    expect(status).toBe(0);
    expect(await shellOf(launcher)).not.toBe(shell);
    expect((await running).output).toBe('done');
  });

  test('fails what is killed with its shell', async () => {
    using launcher = new EngineLauncher();
    const shell = await shellOf(launcher);
    const lost = expect(launcher.run(['sleep', '20'])).rejects.toThrow('has ended');
    process.kill(-shell, 'SIGKILL');
    await lost;
    expect((await launcher.run(['true'])).status).toBe(0);
  });

  test('does not wait for ever for what nobody will answer', async () => {
    using launcher = new EngineLauncher({ longestMs: 1_500 });
    // Its parent is the shell's child that would have answered.
    await expect(launcher.run(['sh', '-c', 'kill -9 $PPID; sleep 0.1'])).rejects.toThrow('no answer within 1.5 s');
    expect((await launcher.run(['true'])).status).toBe(0);
  });

  test('ends with its owner', async () => {
    let shell = 0;
    {
      using launcher = new EngineLauncher();
      shell = await shellOf(launcher);
    }
    await ended(shell);
  });
});

/** The shell itself: above the one that has run the command, and the one that waits for that. */
async function shellOf(launcher: EngineLauncher): Promise<number> {
  const { output } = await launcher.run(['sh', '-c', 'ps -o pgid= -p $$']);
  return Number(output);
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 20_000; !isTrue(); ) {
    if (performance.now() > deadline) throw new Error('it did not come to be');
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function ended(shell: number): Promise<void> {
  await until(() => {
    try {
      return readFileSync(`/proc/${shell}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') ?? true;
    } catch {
      return true;
    }
  });
}
