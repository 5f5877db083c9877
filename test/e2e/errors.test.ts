import { chmodSync, closeSync, existsSync, ftruncateSync, mkdirSync, openSync, readFileSync, readSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import { CLI, PYTHON, supportFile } from '../support/project.js';
import { buildRoot, packTar } from '../support/roots.js';
import { runOk, runProgram, type Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import { expectRefusal, type TestStore } from '../support/test-store.js';

const scratch = useScratch();
let archive = '';
let hostile = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
  hostile = scratch.makeFolder('hostile');
  await runOk(PYTHON, [supportFile('hostile_archives.py'), hostile]);
});

async function storeWith(...containers: string[]): Promise<TestStore> {
  const store = scratch.makeStore();
  await store.make(archive, ...containers);
  return store;
}

/** Changes one byte of a file, whatever its mode. */
function flipByte(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, at);
  closeSync(fd);
}

function onlyTree(store: TestStore): string {
  const [name = ''] = readdirSync(join(store.path, 'trees'));
  return join(store.path, 'trees', name);
}

function largestObject(store: TestStore): string {
  const paths = [...store.sharedFiles().keys()].filter((path) => path.startsWith('objects/'));
  const [largest = ''] = paths.map((path) => join(store.path, path)).sort((a, b) => statSync(b).size - statSync(a).size);
  return largest;
}

describe('archives', () => {
  /** Nothing is imported, and nothing is left but perhaps objects that no tree names. */
  async function expectNothingImported(store: TestStore): Promise<void> {
    expect(await store.json('template', 'list')).toEqual([]);
    expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
    expect(existsSync(join(store.path, 'trees')) ? readdirSync(join(store.path, 'trees')) : []).toEqual([]);
    expect(existsSync('/tmp/evil')).toBe(false);
    for (let folder = store.path; folder !== '/'; folder = dirname(folder)) expect(existsSync(join(folder, 'evil'))).toBe(false);
    await store.expectSound();
  }

  test.each([
    ['parent.tar', /\.\./],
    ['parent-inside.tar', /\.\./],
    ['below-symlink.tar', /symlink/],
    ['below-own-symlink.tar', /symlink/],
    ['link-outside.tar', /\.\./],
    ['link-to-nothing.tar', /link/],
    ['below-file.tar', /a\/b|folder/],
    ['long-name.tar', /long|255/],
    ['truncated.tar', /cut short/],
    ['truncated.tar.gz', /cut short|end|gzip|compress/i],
    ['bad-checksum.tar', /no tar archive/],
    ['garbage-in-gzip.tar.gz', /./],
    ['text.tar', /./],
    ['empty.tar', /./],
  ])('%s is refused', async (file, message) => {
    const store = scratch.makeStore();
    await store.refuses(['template', 'import', 't', join(hostile, file)], { status: 1, code: 'BAD_ARCHIVE', message });
    await expectNothingImported(store);
    // By a pipe it is the same.
    const piped = await store.run(['--json', 'template', 'import', 't', '-'], { input: readFileSync(join(hostile, file)) });
    expect(piped.status, piped.stderr).toBe(1);
    expect(JSON.parse(piped.stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({ error: { code: 'BAD_ARCHIVE' } });
    await expectNothingImported(store);
  });

  test('a bomb ends when the store is nearly full, and gives the space back', async () => {
    const place = scratch.makeFolder('small');
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=300M,mode=711', 'none', place]);
    try {
      const store = scratch.makeStore(join(place, 'store'));
      const error = await store.refuses(['template', 'import', 't', join(hostile, 'bomb.tar.gz')], { status: 1, code: 'NO_SPACE', message: /bytes|space/ });
      expect(error.hint).toMatch(/space/);
      await expectNothingImported(store);
      expect((await runOk('du', ['-sm', place])).split('\t')[0]).toMatch(/^[0-9]$/);
      // The store goes on working.
      await store.make(archive, 'c1');
    } finally {
      await runOk('umount', [place]);
    }
  });

  test('odd ones have the meaning that GNU tar gives them', async () => {
    const store = scratch.makeStore();
    await store.make(join(hostile, 'odd.tar'), 'c1');
    const root = await store.mount('c1');
    expect(readFileSync(join(root, 'absolute'), 'utf8')).toBe('absolute');
    expect(readFileSync(join(root, 'twice'), 'utf8')).toBe('second');
    expect(readFileSync(join(root, 'was-a-link'), 'utf8')).toBe('now a file');
    expect(existsSync('/absolute')).toBe(false);
  });

  test('a source that is not there, or is no archive at all', async () => {
    const store = scratch.makeStore();
    await store.refuses(['template', 'import', 't', '/nonexistent/root.tar'], { status: 1, code: 'FAILED', message: /\/nonexistent\/root\.tar.*ENOENT/ });
    const ended = await store.run(['template', 'import', 't', '/dev/null']);
    expect(ended.status).toBe(1);
  });
});

describe('names and usage', () => {
  test('unknown containers and templates are 10', async () => {
    const store = await storeWith();
    for (const command of [['mount', 'no'], ['umount', 'no'], ['exec', 'no', '--', 'true'], ['info', 'no'], ['diff', 'no'], ['destroy', 'no'], ['destroy', '--force', 'no'], ['stats', 'no'], ['mount', '../../etc'], ['info', '']]) {
      await store.refuses(command, { status: 10, code: 'CONTAINER_NOT_FOUND', message: /no container/ });
    }
    for (const command of [['create', 'c', '--ostemplate', 'no'], ['template', 'info', 'no'], ['template', 'remove', 'no'], ['template', 'create', 'no'], ['template', 'import', 'no', archive, '--refresh']]) {
      await store.refuses(command, { status: 10, code: 'TEMPLATE_NOT_FOUND', message: /no (template|definition)|no.*definition/ });
    }
    expect(await store.json('list')).toEqual([]);
  });

  test('a store that is not there has nothing in it, and is not made by asking', async () => {
    const store = scratch.makeStore();
    expect(await store.json('list')).toEqual([]);
    await store.refuses(['info', 'c1'], { status: 10, code: 'CONTAINER_NOT_FOUND', message: /c1/ });
    expect(existsSync(store.path)).toBe(false);
  });

  test('wrong usage is 2, and changes nothing', async () => {
    const store = await storeWith('c1');
    const place = scratch.path('place');
    writeFileSync(place, 'a file');
    for (const command of [
      ['frobnicate'],
      ['list', '--frobnicate'],
      ['mount'],
      ['create', 'c2'],
      ['create', '../c2', '--ostemplate', 't'],
      ['create', '.hidden', '--ostemplate', 't'],
      ['create', 'n'.repeat(200), '--ostemplate', 't'],
      ['create', 'c2', '--ostemplate', 't', '--quota-size', 'large'],
      ['create', 'c2', '--ostemplate', 't', '--quota-inodes', '-5'],
      ['list', '--wait', 'long'],
      ['list', 'c1', 'c2'],
      ['exec', 'c1'],
      ['exec', 'c1', '--env', 'novalue', '--', 'true'],
      ['mount', 'c1', '/nonexistent/place'],
      ['mount', 'c1', place],
      ['mount', 'c1', '/'],
      ['mount', 'c1', join(store.path, 'objects')],
      ['template', 'import', 'bad/name', archive],
      ['template', 'frobnicate'],
    ]) {
      await store.refuses(command, { status: 2, code: 'USAGE', message: /\S/ });
    }
    expect(((await store.json('list')) as { name: string }[]).map(({ name }) => name)).toEqual(['c1']);
  });

  test('names that are taken', async () => {
    const store = await storeWith('c1');
    await store.refuses(['create', 'c1', '--ostemplate', 't'], { status: 1, code: 'CONTAINER_EXISTS', message: /c1/ });
    await store.refuses(['template', 'import', 't', archive], { status: 1, code: 'TEMPLATE_EXISTS', message: /\bt\b/ });
    await store.refuses(['template', 'remove', 't'], { status: 11, code: 'TEMPLATE_IN_USE', message: /c1/ });
  });

  test('exec passes on how its command ended', async () => {
    const store = await storeWith('c1');
    for (const [command, status] of [['exit 0', 0], ['exit 7', 7], ['kill -9 $$', 137], ['exit 12', 12]] as const) {
      expect((await store.run(['exec', 'c1', '--', '/bin/sh', '-c', command])).status, command).toBe(status);
    }
    const missing = await store.run(['exec', 'c1', '--', '/bin/none']);
    expect(missing.status).toBeGreaterThan(0);
    expect(missing.stderr).toMatch(/none/);
    expect((await store.info('c1')).state).toBe('stopped');
  });
});

/** Runs the command line in a mount namespace of its own, after some shell commands. */
function inNamespace(setup: string, store: TestStore, args: readonly string[]): Promise<Ended> {
  return runProgram('unshare', ['-m', 'sh', '-ec', `${setup}\nexec "$@"`, 'sh', CLI, '--store', store.path, ...args]);
}

describe('a host that lacks something', () => {
  test.each([
    ['no /dev/fuse', 'mount -t tmpfs none /dev; for d in "null 3" "zero 5" "random 8" "urandom 9"; do set -- ${d% *} ${d#* } "$@"; mknod -m 666 /dev/$1 c 1 $2; shift 2; done'],
    ['a /dev/fuse that is something else', 'mount --bind /dev/null /dev/fuse'],
  ])('%s is 13', async (_name, setup) => {
    const store = await storeWith('c1');
    for (const command of [['mount', 'c1'], ['exec', 'c1', '--', '/bin/true']]) {
      await expectRefusal((more) => inNamespace(setup, store, [...more, ...command]), { status: 13, code: 'FUSE_UNAVAILABLE', message: /fuse|mount/i });
    }
    // All that needs no mount works.
    expect((await inNamespace(setup, store, ['create', 'c2', '--ostemplate', 't'])).status).toBe(0);
    expect((await store.info('c1')).stale).toBe(null);
    expect(existsSync(join(store.path, 'run/c1'))).toBe(false);
    await store.mount('c1');
  });

  test('a read-only store is named, and can be read', async () => {
    const store = await storeWith('c1');
    await runOk('touch', [join(store.path, 'private/c1/root/by-hand')]);
    const setup = `mount --bind '${store.path}' '${store.path}'; mount -o remount,bind,ro '${store.path}'`;
    for (const command of [
      ['create', 'c2', '--ostemplate', 't'],
      ['template', 'import', 'u', archive],
      ['template', 'remove', 't'],
      ['destroy', 'c1'],
      ['mount', 'c1'],
      ['exec', 'c1', '--', '/bin/true'],
    ]) {
      await expectRefusal((more) => inNamespace(setup, store, [...more, ...command]), { status: 1, code: 'STORE_NOT_WRITABLE', message: /store|catalog|write|lock/ });
    }
    for (const command of [['list'], ['info', 'c1'], ['diff', 'c1'], ['stats'], ['verify'], ['template', 'list'], ['template', 'info', 't']]) {
      const ended = await inNamespace(setup, store, ['--json', ...command]);
      expect(ended.status, `${command.join(' ')}: ${ended.stderr}`).toBe(0);
      JSON.parse(ended.stdout);
    }
  });

  test('an engine that is not there, or another than it should be', async () => {
    const store = await storeWith('c1');
    const fake = scratch.path('engine');
    writeFileSync(fake, '#!/bin/sh\necho "templatefs-engine 9.9.9 protocol 99 tree 1 private 1"\n');
    chmodSync(fake, 0o755);
    const missing = await store.refuses(['mount', 'c1'], { status: 13, code: 'ENGINE_FAILED', message: /is not there/ }, { env: { TEMPLATEFS_ENGINE: '/nonexistent/engine' } });
    expect(missing.hint).toMatch(/npm run/);
    await store.refuses(['mount', 'c1'], { status: 13, code: 'ENGINE_MISMATCH', message: /protocol 99/ }, { env: { TEMPLATEFS_ENGINE: fake } });
  });

  test('a full disk: the container gets ENOSPC, and the store stays sound', async () => {
    const place = scratch.makeFolder('small');
    const image = scratch.path('disk');
    const fd = openSync(image, 'w');
    ftruncateSync(fd, 200 << 20);
    closeSync(fd);
    await runOk('mkfs.ext4', ['-q', '-m', '0', image]);
    await runOk('mount', ['-o', 'loop', image, place]);
    const agent = new Agent();
    try {
      const store = scratch.makeStore(join(place, 'store'));
      await store.make(archive, 'c1');
      const root = await store.mount('c1');
      const filler = await agent.open(join(root, 'data/filler'), 0o102);
      let errno = 'OK';
      for (let piece = 0; piece < 400 && errno === 'OK'; piece += 1) errno = await agent.errno('pwrite', filler, { hex: 'ab'.repeat(1 << 20) }, piece << 20);
      expect(errno).toBe('ENOSPC');
      await agent.close(filler);
      // Copy-up has no space either: the file stays what it is.
      expect(await agent.errno('open', join(root, 'usr/lib/size-1000003'), 2)).toBe('ENOSPC');
      expect((await agent.stat(join(root, 'usr/lib/size-1000003'))).size).toBe(1_000_003);
      await agent.call('unlink', join(root, 'data/filler'));
      expect(await agent.errno('open', join(root, 'usr/lib/size-1000003'), 2)).toBe('OK');
      await agent.end();
      await store.ok('umount', 'c1');
      await store.expectSound();
    } finally {
      await agent.end();
      await runProgram('umount', [place]);
    }
  });
});

describe('something in the store is broken', () => {
  const head = { status: 12, code: 'BAD_TREE' } as const;

  async function problems(store: TestStore, ...options: string[]): Promise<{ kind: string; name: string; repair: string }[]> {
    const ended = await store.run(['--json', 'verify', ...options]);
    expect(ended.status, ended.stderr).toBe(12);
    const found = (JSON.parse(ended.stdout) as { problems: { kind: string; name: string; repair: string }[] }).problems;
    for (const { kind, name, repair } of found) expect([kind, name, repair].every((text) => text.length > 0)).toBe(true);
    return found;
  }

  test('a tree whose header is broken: 12 for whatever needs it', async () => {
    const store = await storeWith('c1');
    const tree = onlyTree(store);
    flipByte(tree, 30);
    for (const command of [['mount', 'c1'], ['exec', 'c1', '--', '/bin/true'], ['create', 'c2', '--ostemplate', 't'], ['diff', 'c1'], ['stats']]) {
      await store.refuses(command, { ...head, message: /tree/ });
    }
    expect((await problems(store)).map(({ kind }) => kind)).toContain('tree');
    expect(await store.json('list')).toMatchObject([{ name: 'c1', state: 'stopped' }]);
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
    flipByte(tree, 30);
    await store.mount('c1');
    await store.expectSound();
  });

  test('a tree that is cut short, and one that is missing', async () => {
    const store = await storeWith('c1');
    const tree = onlyTree(store);
    const whole = readFileSync(tree);
    truncateSync(tree, whole.length - 4096);
    await store.refuses(['mount', 'c1'], { ...head, message: /tree/ });
    truncateSync(tree, 100);
    await store.refuses(['mount', 'c1'], { ...head, message: /tree/ });
    rmSync(tree);
    const missing = await store.run(['--json', 'mount', 'c1']);
    expect(missing.status, missing.stderr).toBe(12);
    expect((await problems(store)).length).toBeGreaterThan(0);
    writeFileSync(tree, whole, { mode: 0o400 });
    await store.expectSound();
  });

  test('a tree with a flipped bit in any page: verify names it, and the root gives EIO, never garbage', { timeout: 240_000 }, async () => {
    const store = await storeWith('c1');
    const tree = onlyTree(store);
    const { size } = statSync(tree);
    const template = scratch.path('wanted');
    await buildRoot(template);
    for (const at of [4096 + 64 * 5 + 16, Math.floor(size / 3), Math.floor(size / 2), size - 5000, size - 3]) {
      flipByte(tree, at);
      expect((await problems(store)).map(({ kind }) => kind), `byte ${at}`).toContain('tree');
      const mounted = await store.run(['mount', 'c1']);
      if (mounted.status === 0) {
        const walk = await runProgram(PYTHON, ['-c', WALK, template, join(store.path, 'root/c1')]);
        expect(walk, `byte ${at}: ${walk.stderr}`).toMatchObject({ status: 0, stdout: expect.not.stringContaining('wrong') as string });
        await store.ok('umount', 'c1');
      } else expect(mounted.status).toBe(12);
      flipByte(tree, at);
    }
    await store.expectSound();
  });

  test('objects that are changed, cut short or missing: verify is 12 and names them', async () => {
    const store = await storeWith('c1');
    const object = largestObject(store);
    const name = object.slice(join(store.path, 'objects/').length).replace('/', '');
    const whole = readFileSync(object);
    flipByte(object, 1000);
    expect(await problems(store, '--dry-run')).toEqual([expect.objectContaining({ kind: 'object', name }) as unknown]);
    truncateSync(object, 10);
    expect((await problems(store, '--dry-run')).map((problem) => problem.name)).toContain(name);
    rmSync(object);
    expect((await problems(store)).map((problem) => problem.name)).toContain(name);
    // All other files of a root can be read meanwhile.
    const root = await store.mount('c1');
    const agent = new Agent();
    expect(await agent.get(join(root, 'data/file'))).toBe('from the template\n');
    // The largest one is the content of the sparse files.
    expect(await agent.errno('open', join(root, 'usr/lib/sparse'), 0)).toBe('EIO');
    await agent.end();
    await store.ok('umount', 'c1');
    writeFileSync(object, whole, { mode: 0o400 });
    chmodSync(object, 0o400);
    expect((await store.run(['--json', 'verify'])).status).toBe(0);
  });

  test.each([
    ['garbage', (path: string) => { writeFileSync(path, 'this is no database\n'.repeat(1000)); }],
    ['nothing', (path: string) => { writeFileSync(path, ''); }],
    ['no file', (path: string) => { rmSync(path); }],
    ['a broken header', (path: string) => { flipByte(path, 3); }],
    ['cut short', (path: string) => { writeFileSync(path, readFileSync(path).subarray(0, 4096)); }],
    ['a database of somebody else', (path: string) => {
      rmSync(path);
      new Database(path).exec('CREATE TABLE songs (title TEXT)').close();
    }],
    ['an empty database', (path: string) => {
      rmSync(path);
      new Database(path).exec('CREATE TABLE gone (x); DROP TABLE gone').close();
    }],
  ])('a catalog that is %s is 12; catalog rebuild brings all back', async (_name, damage) => {
    const store = await storeWith('c1', 'c2');
    const before = [await store.json('list'), await store.json('template', 'list')];
    const catalog = join(store.path, 'catalog.sqlite');
    for (const file of [`${catalog}-wal`, `${catalog}-shm`]) rmSync(file, { force: true });
    damage(catalog);
    for (const command of [['list'], ['mount', 'c1'], ['create', 'c3', '--ostemplate', 't'], ['template', 'list'], ['stats'], ['verify'], ['destroy', 'c1']]) {
      const error = await store.refuses(command, { status: 12, code: 'BAD_CATALOG', message: /catalog/ });
      expect(error.hint).toContain('templatefs catalog rebuild');
    }
    await store.ok('catalog', 'rebuild');
    expect([await store.json('list'), await store.json('template', 'list')]).toEqual(before);
    await store.mount('c1');
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test('the settings of a container', async () => {
    const store = await storeWith('c1', 'c2');
    writeFileSync(join(store.path, 'private/c1/container'), 'nonsense\n');
    await store.refuses(['mount', 'c1'], { status: 12, code: 'INTEGRITY', message: /c1/ });
    expect((await problems(store)).map(({ kind, name }) => `${kind} ${name}`)).toContain('container c1');
    // The others are not touched by it.
    await store.mount('c2');
    await store.ok('umount', 'c2');
    await store.ok('destroy', 'c1');
    await store.expectSound();
  });
});

const WALK = `
import errno, os, sys
wanted, found = map(os.fsencode, sys.argv[1:])
def differ(path, what):
    print('wrong', path, what)
stack = [b'.']
while stack:
    path = stack.pop()
    try:
        for name in os.listdir(os.path.join(found, path)):
            child = os.path.join(path, name)
            try:
                a = os.lstat(os.path.join(found, child))
                try:
                    b = os.lstat(os.path.join(wanted, child))
                except FileNotFoundError:
                    differ(child, 'is not in the template')
                    continue
                if (a.st_mode, a.st_uid, a.st_mtime_ns) != (b.st_mode, b.st_uid, b.st_mtime_ns):
                    differ(child, f'{a} {b}')
                if os.path.isdir(os.path.join(found, child)) and not os.path.islink(os.path.join(found, child)):
                    stack.append(child)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EUCLEAN): raise
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EUCLEAN): raise
`;

describe('something is in use', () => {
  test('a root with an open file or a current folder in it: umount is 11, --force takes it away', async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const agent = new Agent();
    await agent.call('chdir', join(root, 'srv'));
    const error = await store.refuses(['umount', 'c1'], { status: 11, code: 'BUSY', message: /in use/ });
    expect(error.hint).toMatch(/fuser|--force/);
    const inside = new Agent();
    await inside.call('chdir', join(root, 'srv'));
    await agent.call('chdir', '/');
    const fd = await agent.open(join(root, 'data/file'), 2);
    await store.refuses(['umount', 'c1'], { status: 11, code: 'BUSY', message: /in use/ });
    // It goes on being served.
    await agent.write(fd, 'WRITTEN while busy');
    await agent.call('fsync', fd);
    await store.refuses(['destroy', 'c1'], { status: 11, code: 'CONTAINER_MOUNTED', message: /mounted/ });
    await store.ok('umount', 'c1', '--force');
    // A descriptor that bypasses the engine goes on; whatever asks the engine fails.
    expect(await inside.errno('listdir', '.')).toMatch(/^(ENOTCONN|ECONNABORTED|EIO)$/);
    await inside.end();
    await agent.end();
    expect(readFileSync(join(await store.mount('c1'), 'data/file'), 'utf8')).toMatch(/^WRITTEN while busy/);
    expect(await store.ok('destroy', 'c1', '--force')).toMatch(/c1/);
    expect(await store.json('list')).toEqual([]);
  });

  test('a second command on one container is 11 and names the first; --wait waits for it', async () => {
    const store = await storeWith('c1');
    await store.mount('c1');
    const worker = store.workerPid('c1');
    process.kill(worker, 'SIGSTOP');
    let first: Promise<Ended> | undefined;
    try {
      let pid = 0;
      first = store.run(['umount', 'c1'], { onStart: (child) => { pid = child.pid ?? 0; } });
      await expect.poll(() => readdirSync(join(store.path, 'run/.locks')).some((name) => name.startsWith('use-c1.holder')), { timeout: 10_000 }).toBe(true);
      const message = new RegExp(`templatefs --store .* umount c1.*pid ${pid}`);
      for (const command of [['mount', 'c1'], ['umount', 'c1'], ['destroy', 'c1'], ['exec', 'c1', '--', '/bin/true']]) {
        const error = await store.refuses(command, { status: 11, code: 'BUSY', message });
        expect(error.hint).toMatch(/--wait/);
      }
      // What only reads does not wait.
      await store.ok('list');
      const waiting = store.run(['mount', 'c1', '--wait', '30']);
      process.kill(worker, 'SIGCONT');
      expect((await first).status).toBe(0);
      expect(await waiting).toMatchObject({ status: 0 });
    } finally {
      try {
        process.kill(worker, 'SIGCONT');
      } catch {
        // It has ended, as it should.
      }
      await first;
    }
  });

  test('while exec runs a command, umount and destroy are 11', async () => {
    const store = await storeWith('c1');
    let stop = (): void => undefined;
    const running = store.run(['exec', 'c1', '--', '/bin/sleep', '60'], { onStart: (child) => { stop = () => child.kill('SIGTERM'); } });
    await expect.poll(() => scratch.mounts().length, { timeout: 20_000 }).toBeGreaterThan(0);
    await expect.poll(async () => (await store.run(['umount', 'c1'])).stderr, { timeout: 20_000 }).toMatch(/exec c1/);
    await store.refuses(['umount', 'c1'], { status: 11, code: 'BUSY', message: /exec c1/ });
    const destroyed = await store.run(['destroy', 'c1']);
    expect(destroyed.status, destroyed.stderr).toBe(11);
    stop();
    expect((await running).status).toBe(143);
    expect((await store.info('c1')).state).toBe('stopped');
  });

  test('a container that is mounted elsewhere, and a place where something else is', async () => {
    const store = await storeWith('c1', 'c2');
    const place = scratch.makeFolder('place');
    await store.mount('c1', place);
    const other = scratch.makeFolder('other');
    await store.refuses(['mount', 'c1', other], { status: 11, code: 'BUSY', message: new RegExp(place) });
    await store.refuses(['mount', 'c2', place], { status: 11, code: 'BUSY', message: /mounted at/ });
    expect(await store.json('mount', 'c1')).toMatchObject({ root: place, already: true });
    mkdirSync(join(store.path, 'root/c2'), { recursive: true });
    await store.ok('umount', 'c1');
    await store.ok('mount', 'c2', place);
    await store.ok('umount', 'c2');
    expect(existsSync(place)).toBe(true);
  });
});
