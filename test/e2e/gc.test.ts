import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import type { Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import { flipByte, objectName, objectOf, verify } from '../support/store-damage.js';
import { TestStore } from '../support/test-store.js';

const scratch = useScratch();

interface Collected {
  readonly objects: number;
  readonly trees: number;
  readonly freedBytes: number;
  readonly leftovers: readonly string[];
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  readonly keptObjects: number;
  readonly listed?: { readonly objects: readonly string[]; readonly trees: readonly string[] };
}

const OLD = 'only in the first version\n'.repeat(1000);
const BOTH = 'in both versions\n'.repeat(1000);

/** Of the commands beside collections; `TEMPLATEFS_GC_ROUNDS=20 npm test -- e2e/gc` for longer. */
const ROUNDS = Number(process.env['TEMPLATEFS_GC_ROUNDS'] ?? 1);

let source = '';
let store: TestStore;

function put(path: string, text: string): void {
  mkdirSync(dirname(join(source, path)), { recursive: true });
  writeFileSync(join(source, path), text);
}

async function gc(...options: string[]): Promise<Collected & { status: number | null }> {
  return report(await store.run(['--json', '--wait', '60', 'gc', ...options]));
}

function report({ status, stdout, stderr }: Ended): Collected & { status: number | null } {
  if (stdout === '') throw new Error(`gc ended with ${String(status)}: ${stderr}`);
  return { ...(JSON.parse(stdout) as Collected), status };
}

/** A container on the first version of a template that has a second one. */
beforeEach(async () => {
  source = scratch.makeFolder('source');
  put('usr/old', OLD);
  put('usr/both', BOTH);
  store = scratch.makeInProcessStore();
  await store.make(source, 'c1');
  rmSync(join(source, 'usr/old'));
  await store.ok('template', 'import', 't', source, '--refresh');
});

describe('what is in use stays', () => {
  test('the tree of a container whose template has moved on; without it, it goes', async () => {
    expect(await gc()).toMatchObject({ status: 0, objects: 0, trees: 0, leftovers: [], kept: [] });
    await store.ok('destroy', 'c1');
    const name = objectName(objectOf(store, OLD));
    const before = [...store.sharedFiles().keys()];
    const listed = await gc('--dry-run');
    expect(listed).toMatchObject({ status: 0, objects: 1, trees: 1, listed: { objects: [name] } });
    expect([...store.sharedFiles().keys()]).toEqual(before);
    const done = await gc();
    expect(done).toMatchObject({ status: 0, objects: 1, trees: 1 });
    expect(done.freedBytes).toBeGreaterThan(OLD.length);
    expect(() => objectOf(store, OLD)).toThrow();
    expect(readdirSync(join(store.path, 'sums'))).toEqual(readdirSync(join(store.path, 'trees')));
    expect(await gc()).toMatchObject({ objects: 0, trees: 0, freedBytes: 0 });
    await store.expectSound();
    await store.ok('template', 'remove', 't');
    await gc();
    expect(store.sharedFiles().size).toBe(0);
  });

  test('what links of a mounted container show, also after a rename and when it is only open', async () => {
    const root = await store.mount('c1');
    const agent = new Agent();
    const before = store.sharedFiles();
    await agent.call('chmod', join(root, 'usr/old'), 0o600);
    await agent.call('rename', join(root, 'usr/old'), join(root, 'moved'));
    const fd = await agent.open(join(root, 'moved'));
    await agent.call('unlink', join(root, 'moved'));
    expect(await gc()).toMatchObject({ objects: 0, trees: 0, kept: [] });
    expect(await agent.read(fd, OLD.length)).toBe(OLD);
    expect(store.sharedFiles()).toEqual(before);
    await agent.end();
  });

  test('what a container has that only its files tell of', async () => {
    // The catalog does not know it, as after a rebuild from an old backup.
    renameSync(join(store.path, 'private/c1'), join(store.path, 'private/elsewhere'));
    await store.ok('destroy', 'c1');
    renameSync(join(store.path, 'private/elsewhere'), join(store.path, 'private/c1'));
    expect(await gc()).toMatchObject({ objects: 0, trees: 0 });
    expect(objectOf(store, OLD)).toMatch(/objects/);
  });

  test.each([
    ['a tree that is broken', (tree: string) => { flipByte(join(store.path, 'trees', tree), 9000); }, /tree/],
    ['settings that cannot be read', () => { writeFileSync(join(store.path, 'private/c2/container'), 'garbage'); }, /container c2/],
    ['a template record that cannot be read', () => { writeFileSync(join(store.path, 'templates/t'), 'garbage'); }, /template t/],
    ['a private area without settings', () => { mkdirSync(join(store.path, 'private/unknown')); }, /container unknown/],
  ])('everything, where there is %s', async (_what, damage, who) => {
    await store.ok('create', 'c2', '--ostemplate', 't');
    await store.ok('destroy', 'c1');
    damage(((await store.json('template', 'info', 't')) as { tree: string }).tree);
    const before = store.sharedFiles();
    const done = await gc();
    expect(done).toMatchObject({ status: 3, objects: 0, trees: 0 });
    expect(done.keptObjects).toBeGreaterThan(0);
    expect(done.kept.map(({ name }) => name).join()).toMatch(who);
    expect(store.sharedFiles()).toEqual(before);
  });

  test('a file in staging that nobody knows, and files in objects that are none', async () => {
    writeFileSync(join(store.path, 'staging/precious'), 'x');
    writeFileSync(join(store.path, 'objects/precious'), 'x');
    expect(await gc()).toMatchObject({ status: 3, kept: [{ name: join(store.path, 'staging/precious') }] });
    expect(existsSync(join(store.path, 'staging/precious')) && existsSync(join(store.path, 'objects/precious'))).toBe(true);
  });
});

test('an object that nothing refers to while all is looked at, and a link that is being made then', async () => {
  const content = Buffer.alloc(300_000, 'what two containers write ');
  const processes = new TestStore(store.path);
  await store.ok('create', 'c2', '--ostemplate', 't');
  const roots = [await store.mount('c1'), await store.mount('c2')];
  const write = (): void => { for (const root of roots) writeFileSync(join(root, 'usr/written'), content); };
  write();
  await store.ok('link', '--all');
  for (const root of roots) rmSync(join(root, 'usr/written'));
  write();
  // It reads for some seconds before it asks the engines; the object is there, and is garbage until then.
  const linking = processes.run(['--json', '--wait', '60', 'link', '--all', '--rate', '300K']);
  await sleep(1000);
  const collected = await processes.run(['--json', '--wait', '60', 'gc']);
  const linked = await linking;
  expect({ linked: linked.status, collected: collected.status }, linked.stderr).toEqual({ linked: 0, collected: 0 });
  await store.expectSound();
  for (const root of roots) expect(readFileSync(join(root, 'usr/written')).equals(content)).toBe(true);
});

test('what killed commands left goes', async () => {
  const dead = 4_194_303; // beyond pid_max
  const left = [
    `staging/objects-${dead}-77-abcdef`, `staging/tree-${dead}-77-abcdef`, `templates/t.tmp-${dead}`, `private/c1/container.tmp-${dead}`,
    'private/.new-99-c9', 'private/.trash-98-c8', 'run/c7', 'run/.locks/container-c7',
  ];
  for (const path of left) {
    mkdirSync(dirname(join(store.path, path)), { recursive: true });
    if (/objects-|\.new|\.trash|run\/c7/.test(path)) {
      mkdirSync(join(store.path, path));
      writeFileSync(join(store.path, path, 'inside'), 'x'.repeat(10_000));
    } else writeFileSync(join(store.path, path), '');
  }
  mkdirSync(join(store.path, 'root/c7'));
  // This process is alive: so is what it stages.
  const start = readFileSync(`/proc/${process.pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19] ?? '';
  mkdirSync(join(store.path, `staging/objects-${process.pid}-${start}-abcdef`));
  expect((await gc('--dry-run')).leftovers).toHaveLength(left.length + 1);
  const done = await gc();
  expect(done.leftovers).toHaveLength(left.length + 1);
  expect(done.freedBytes).toBeGreaterThan(30_000);
  for (const path of [...left, 'root/c7']) expect(existsSync(join(store.path, path)), path).toBe(false);
  expect(readdirSync(join(store.path, 'staging'))).toHaveLength(1);
  rmSync(join(store.path, `staging/objects-${process.pid}-${start}-abcdef`), { recursive: true });
  expect(((await store.json('list')) as unknown[])).toHaveLength(1);
  await store.expectSound();
});

test('notes of broken objects that nothing needs go with them', async () => {
  flipByte(objectOf(store, OLD), 1);
  await verify(store);
  expect(readdirSync(join(store.path, 'broken'))).toHaveLength(2);
  await gc();
  expect(readdirSync(join(store.path, 'broken'))).toHaveLength(2);
  await store.ok('destroy', 'c1');
  await gc();
  expect(readdirSync(join(store.path, 'broken'))).toEqual([]);
  await store.expectSound();
});

test('beside ten commands at once: nothing that is needed goes, whatever they do', { timeout: 60_000 + ROUNDS * 120_000 }, async () => {
  const root = await store.mount('c1');
  const processes = new TestStore(store.path);
  const agent = new Agent();
  await agent.call('chmod', join(root, 'usr/old'), 0o600);
  const still = { running: true };
  const collected: Collected[] = [];
  const collecting = (async () => {
    while (still.running) collected.push(report(await processes.run(['--json', '--wait', '120', 'gc'])));
  })();
  const moving = (async () => {
    for (let n = 0; still.running; n += 1) await agent.call('rename', join(root, n % 2 === 0 ? 'usr/old' : 'moved'), join(root, n % 2 === 0 ? 'moved' : 'usr/old'));
  })();
  const works = [0, 1, 2, 3].map(async (n) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const own = scratch.makeFolder('own');
      writeFileSync(join(own, 'file'), `template ${n} round ${round}`);
      // Content that was garbage a moment ago, and may be in the sweep's list.
      writeFileSync(join(own, 'shared'), `shared by all in round ${round}`);
      const [template, container] = [`w${n}`, `d${n}`];
      for (const args of [['template', 'import', template, own], ['create', container, '--ostemplate', template], ['exec', container, '--', '/none']] as const) {
        const ended = await processes.run(['--json', '--wait', '120', ...args]);
        if (args[0] !== 'exec') expect(ended.status, `${args.join(' ')}: ${ended.stderr}`).toBe(0);
      }
      const mounted = await processes.ok('--wait', '120', 'mount', container);
      expect(readFileSync(join(mounted, 'file'), 'utf8')).toBe(`template ${n} round ${round}`);
      expect(readFileSync(join(mounted, 'shared'), 'utf8')).toBe(`shared by all in round ${round}`);
      await processes.ok('--wait', '120', 'umount', container);
      await processes.ok('--wait', '120', 'destroy', container);
      await processes.ok('--wait', '120', 'template', 'remove', template);
    }
  });
  await Promise.all([Promise.all(works).finally(() => { still.running = false; }), collecting, moving]);
  expect(collected.length).toBeGreaterThan(1);
  const found = [await agent.errno('open', join(root, 'usr/old'), 0), await agent.errno('open', join(root, 'moved'), 0)];
  expect(found.sort()).toEqual(['ENOENT', 'OK']);
  await agent.end();
  await store.expectSound();
  await gc();
  const kept = [...store.sharedFiles().keys()].filter((path) => path.startsWith('objects/'));
  expect(kept).toHaveLength(2);
});
