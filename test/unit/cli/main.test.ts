import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { COMMANDS, commandsFor } from '../../../src/cli/command-list.js';
import { runCommandLine } from '../../../src/cli/main.js';
import { temporaryStore } from '../catalog/temporary-store.js';

/** Runs the command line in this process. */
async function run(...argv: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => { stdout += String(text); return true; });
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => { stderr += String(text); return true; });
  try {
    return { status: await runCommandLine(argv, { signal: new AbortController().signal, leave: () => undefined }), stdout, stderr };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

test('global options count before and after the command', async () => {
  const { store } = temporaryStore();
  for (const argv of [['--store', store, '--json', 'list'], ['list', '--store', store, '--json'], ['--json', 'template', 'list', '--store', store]]) {
    expect(await run(...argv)).toEqual({ status: 0, stdout: '[]\n', stderr: '' });
  }
});

test('an unknown name is 10, with one line of JSON if asked for', async () => {
  const { store } = temporaryStore();
  const asked = await run('info', 'none', '--json', '--store', store);
  expect(asked).toMatchObject({ status: 10, stdout: '' });
  expect(JSON.parse(asked.stderr)).toMatchObject({ error: { code: 'CONTAINER_NOT_FOUND' } });
  expect((await run('info', 'none', '--store', store)).stderr).toMatch(/^templatefs: there is no container "none"\n {2}hint: /);
});

test('a corrupt catalog is 12', async () => {
  const paths = temporaryStore();
  writeFileSync(paths.catalog, 'garbage'.repeat(100));
  expect(await run('list', '--store', paths.store)).toMatchObject({ status: 12, stderr: expect.stringContaining('templatefs catalog rebuild') as string });
});

test.each([['frobnicate'], ['list', '--frob'], ['create'], ['create', 'c1'], ['mount'], ['exec'], ['bundle', 'c1'], ['info', 'c1', 'extra'], ['list', '--wait', 'soon'], ['template', 'frob']])(
  'wrong usage is 2: %s %s',
  async (...argv) => {
    const { store } = temporaryStore();
    const answer = await run('--store', store, ...argv.filter((word) => typeof word === 'string'), '--json');
    expect(answer).toMatchObject({ status: 2, stdout: '' });
    expect(JSON.parse(answer.stderr)).toMatchObject({ error: { code: 'USAGE' } });
  },
);

test('every command has help with examples', async () => {
  const commands = [
    [], ['template', 'create'], ['template', 'import'], ['template', 'list'], ['template', 'info'], ['template', 'remove'], ['create'],
    ['mount'], ['umount'], ['exec'], ['bundle'], ['export'], ['list'], ['info'], ['diff'], ['destroy'], ['stats'], ['explain'], ['du'], ['query', 'package'], ['query', 'object'], ['verify'], ['gc'], ['catalog', 'rebuild'],
  ];
  for (const command of commands) {
    const answer = await run(...command, '--help');
    expect(answer, command.join(' ')).toMatchObject({ status: 0, stderr: '' });
    expect(answer.stdout, command.join(' ')).toMatch(/Examples:\n {2}templatefs|Examples:\n {2}\S/);
    expect(answer.stdout).toContain('--store <dir>');
  }
});

test('the list of commands names each command as it names itself, and none is missing', async () => {
  const host = { run: (): Promise<void> => Promise.resolve() };
  for (const { names, load } of COMMANDS) {
    const command = (await load())(host);
    expect([command.name(), ...command.aliases()]).toEqual(names);
  }
  const folder = new URL('../../../src/cli/commands/', import.meta.url);
  const made = readdirSync(folder).flatMap((file) => [...readFileSync(new URL(file, folder), 'utf8').matchAll(/^export function \w+Command\(host/gm)]);
  expect(COMMANDS).toHaveLength(made.length);
});

test('only the command that is asked for is loaded', () => {
  const asked = (...argv: string[]): string[] => commandsFor(argv).map(({ names: [name = ''] }) => name);
  expect(asked('--store', 'list', '--json', 'dedup', 'c1')).toEqual(['link']);
  expect(asked('--wait=3', '-q', 'ls')).toEqual(['list']);
  expect(asked('--version')).toEqual([]);
  for (const argv of [[], ['--help'], ['help', 'list'], ['frobnicate']]) expect(asked(...argv)).toHaveLength(COMMANDS.length);
});
