import { statSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { StorePaths } from '../../src/core/store-paths.js';
import { residentBytes } from '../../src/engine/resident-bytes.js';
import { AreaView } from '../../src/service/area-view.js';
import { isFile, sizeOf } from '../../src/service/root-view.js';
import { objectPath, parseObjectId } from '../../src/store/object-id.js';
import { rawFromText } from '../../src/store/raw-names.js';
import { PYTHON, supportFile } from '../support/project.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/*
 * The templates that come with templatefs, from the real mirror: each flavor and each app, and a container of it in which the programs run.
 * And what ten containers with one app share.
 */

const MINUTES = 60_000;
const OS = 'debian-12-x86_64';
const scratch = useScratch();
let store: TestStore;

const UNTIL = 'until_true() { n=0; until "$@" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 600 ] || { echo "never: $*"; exit 9; }; sleep 0.1; done; }';
const PHP = 'php -v && php -r "echo 6 * 7, chr(10);" && php-fpm8.2 -t 2>&1';
const NGINX = 'nginx -t 2>&1 && nginx && until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/80" && bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf \'GET / HTTP/1.0\\r\\n\\r\\n\' >&3; head -1 <&3"';

/** What runs in a container of each app, as its root. */
const ANSWERS: readonly (readonly [string, string, RegExp])[] = [
  ['php', PHP, /^PHP 8\.2.*\n42\n.*test is successful/s],
  ['nginx', NGINX, /syntax is ok.*HTTP\/1\.1 200 OK/s],
  ['redis', "redis-server --daemonize yes --unixsocket /tmp/redis --save '' >/dev/null; until_true redis-cli -s /tmp/redis ping; redis-cli -s /tmp/redis set answer 42; redis-cli -s /tmp/redis get answer", /^OK\n42$/m],
  ['python', 'python3 -m venv /srv/own && /srv/own/bin/python -c "print(6 * 7)" && /srv/own/bin/pip --version', /^42\npip \d/],
  ['postgresql', 'pg_ctlcluster 15 main start && su postgres -c "psql -Atc \'create table numbers as select generate_series(1, 6) as n; select sum(n) * 2 from numbers\'" && pg_ctlcluster 15 main stop', /^42$/m],
  // Native AIO is the host's kernel's affair: there are machines on which it hangs.
  ['mariadb', "install -d -o mysql /run/mysqld && (mariadbd --user=mysql --skip-networking --innodb-use-native-aio=0 >/tmp/log 2>&1 &) && until_true mariadb-admin ping; mariadb -Ne 'create database d; create table d.numbers (n int); insert into d.numbers values (20), (22); select sum(n) from d.numbers'; mariadb-admin shutdown", /^42$/m],
];

const exec = (container: string, text: string): Promise<string> => store.ok('exec', container, '--no-network', '--', 'sh', '-ec', `${UNTIL}\n${text}`);
const isSound = (container: string): Promise<string> => exec(container, 'dpkg --audit; dpkg --verify | grep -v " c /" || :');
const create = async (...args: string[]): Promise<void> => {
  const { status, stderr } = await store.run(['template', 'create', ...args], { timeoutMs: 15 * MINUTES });
  expect(status, stderr).toBe(0);
};

describe('templates from the real mirror', { timeout: 20 * MINUTES }, () => {
  beforeAll(async () => {
    store = scratch.makeStore();
    await create(OS);
  }, 16 * MINUTES);

  test.each([
    ['minimal', 'dpkg-query -W | wc -l', /^\d+$/],
    ['webserver', `${PHP} && ${NGINX}`, /test is successful.*HTTP\/1\.1 200 OK/s],
  ])('flavor %s', async (flavor, script, answer) => {
    await create(OS, '--flavor', flavor);
    await store.ok('create', flavor, '--ostemplate', `${OS}-${flavor}`);
    expect(await exec(flavor, script)).toMatch(answer);
    expect(await isSound(flavor)).toBe('');
    await store.ok('destroy', flavor);
  });

  test.each(ANSWERS)('app template %s', async (app, script, answer) => {
    await create(OS, '--apptemplate', app);
    for (const container of [`${app}-1`, `${app}-2`]) await store.ok('create', container, '--ostemplate', `${OS}-${app}`);
    for (const container of [`${app}-1`, `${app}-2`]) expect(await exec(container, script)).toMatch(answer);
    expect(await isSound(`${app}-1`)).toBe('');
    for (const container of [`${app}-1`, `${app}-2`]) await store.ok('destroy', container);
  });

  test('ten containers share the page cache for all files of php', async () => {
    const containers = Array.from({ length: 10 }, (_, index) => `p${index + 1}`);
    const packages = new Set<string>();
    for (const container of containers) {
      await store.ok('create', container, '--ostemplate', OS);
      const { status, stdout, stderr } = await store.run(['--json', 'install', container, 'php'], { timeoutMs: 10 * MINUTES });
      expect(status, stderr).toBe(0);
      for (const { name } of (JSON.parse(stdout) as { packages: { name: string }[] }).packages) packages.add(name);
    }
    const listed = (await exec('p1', `dpkg -L ${[...packages].join(' ')} | sort -u`)).split('\n').filter((path) => path.startsWith('/usr/') || path.startsWith('/lib/'));

    // Each of them is one object in all ten.
    const context = { paths: new StorePaths(store.path) };
    const views = [];
    const records = (await store.json('list')) as { name: string }[];
    expect(records.map(({ name }) => name)).toEqual(expect.arrayContaining(containers));
    const { tree } = (await store.json('template', 'info', OS)) as { tree: string };
    const objects = new Map<string, string>();
    try {
      for (const name of containers) views.push(await AreaView.open(context, { name, tree }));
      for (const path of listed) {
        const found = views.map((view) => {
          const entry = view.resolve(rawFromText(path));
          return entry !== undefined && isFile(entry) && sizeOf(entry) > 4096 ? { place: entry.path, object: view.objectIdOf(entry) } : undefined;
        });
        const [first] = found;
        if (first === undefined) continue;
        expect(first.object, path).not.toBeNull();
        expect(new Set(found.map((one) => one?.object)), path).toEqual(new Set([first.object]));
        objects.set(first.place, first.object ?? '');
      }
    } finally {
      for (const view of views) view[Symbol.dispose]();
    }
    expect(objects.size).toBeGreaterThan(200);

    // Its pages are read by the first, and by none again: they belong to the objects, and no root has any of its own.
    const files = [...new Set(objects.values())].map((text) => {
      const id = parseObjectId(text);
      if (id === undefined) throw new Error(`no object: ${text}`);
      return objectPath(context.paths, id);
    });
    const resident = async (): Promise<number> => (await residentBytes(files)).reduce((sum, bytes) => sum + bytes, 0);
    const paths = [...objects.keys()].map((path) => `${path}\0`).join('');
    const wanted = files.reduce((sum, file) => sum + statSync(file).size, 0);
    await runOk(PYTHON, ['-c', 'import os, sys\nfor path in sys.stdin.buffer.read().split(b"\\0"):\n  if path:\n    fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); os.close(fd)'], { input: files.map((file) => `${file}\0`).join('') });
    expect(await resident()).toBeLessThan(wanted * 0.1);
    let once = 0;
    for (const container of containers) {
      const root = await store.mount(container);
      const [read = 0, own = 0] = (await runOk(PYTHON, [supportFile('read_files.py'), root], { input: paths })).trim().split(' ').map(Number);
      expect(read).toBeGreaterThanOrEqual(wanted);
      expect(own, `${container} has pages of its own`).toBe(0);
      const now = await resident();
      if (once === 0) once = now;
      expect(now).toBeGreaterThanOrEqual(wanted * 0.9);
      expect(now).toBeLessThanOrEqual(once * 1.02 + 4096 * files.length);
    }
    process.stderr.write(`  ${objects.size} files of php, ${wanted} bytes: ${once} bytes in the page cache for ${containers.length} containers\n`);
    for (const container of containers) {
      await store.ok('umount', container);
      await store.ok('destroy', container);
    }
  });

  test('leaves a sound store', async () => {
    await store.expectSound();
  });
});
