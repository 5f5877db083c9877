import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildDeb, DebRepository } from '../support/deb-repository.js';
import { ENGINE } from '../support/project.js';
import { killOperations } from '../support/kill-operations.js';
import type { PackageContent } from '../support/package-content.js';
import { runOk, type Ended } from '../support/run-program.js';
import type { Scratch } from '../support/scratch.js';
import { useSigningKeys, type SigningKey } from '../support/signing-key.js';
import type { TestStore } from '../support/test-store.js';

/*
 * The installer on the Debian root of the tests around: small packages from a signed repository of our own, so that a run costs
 * a second; real PHP once.
 */

/** Kills of one run: some in CI, more by `npm run test:installer -- --kills N`. */
const KILLS = Number(process.env['TEMPLATEFS_INSTALLER_KILLS'] ?? 2);
const MINUTES = 60_000;

interface Changed {
  readonly transaction: number | null;
  readonly packages: readonly { name: string; action: string; from: string | null; to: string | null }[];
  readonly addedBytes: number;
  readonly linkedBytes: number;
  readonly paths: readonly { path: string; letter: string; package: string; configuration: boolean }[] | null;
  readonly scripts: readonly string[];
}

/** @param template a Debian template of the store */
export function installerCases(scratch: Scratch, store: TestStore, template: string): void {
  const definitions = scratch.path('definitions');
  const debs = scratch.path('debs');
  let good: SigningKey;
  let repository: DebRepository;
  const env = { TEMPLATEFS_TEMPLATES: definitions };

  const run = (...args: string[]): Promise<Ended> => store.run(args, { env, timeoutMs: 5 * MINUTES });
  async function ok(...args: string[]): Promise<Changed> {
    const ended = await run('--json', ...args);
    expect(ended.status, ended.stderr).toBe(0);
    return JSON.parse(ended.stdout) as Changed;
  }
  const exec = async (container: string, script: string): Promise<string> => (await store.run(['exec', container, '--no-network', '--', 'sh', '-c', script])).stdout.trim();
  const isSound = (container: string): Promise<string> => exec(container, 'dpkg --verify; dpkg --audit; apt-get check -qq 2>&1');

  const tool = (version: string, more: Partial<PackageContent> = {}): PackageContent => ({
    name: 'tool', version, requires: ['tool-data'],
    files: { '/usr/bin/tool': { content: `#!/bin/sh\necho tool ${version}\n`, mode: 0o755 }, '/etc/tool.conf': `version ${version}\n` },
    configuration: ['/etc/tool.conf'],
    scripts: { afterInstall: 'echo configured >> /var/log/tool.log; [ -e /etc/tool.key ] || (umask 077; head -c 32 /dev/urandom > /etc/tool.key)', beforeRemove: 'rm -f /etc/tool.key /var/log/tool.log' },
    ...more,
  });
  const data = (version: string): PackageContent => ({
    name: 'tool-data', version,
    files: Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`/usr/share/tool/${index}`, `${version} ${index} `.repeat(500)])),
  });
  const publish = async (...packages: string[]): Promise<void> => repository.publish({ packages, key: good });
  const deb = (name: string, version: string): string => join(debs, `${name}_${version}_all.deb`);

  describe('the installer', { timeout: 8 * MINUTES }, () => {
    const makeKey = useSigningKeys(scratch);

    beforeAll(async () => {
      good = await makeKey('good');
      mkdirSync(debs);
      for (const version of ['1.0', '2.0']) {
        await buildDeb(debs, tool(version));
        await buildDeb(debs, data(version));
      }
      await buildDeb(debs, { name: 'needs-tool', version: '1.0', requires: ['tool'] });
      repository = new DebRepository(scratch.makeFolder('repository'));
      await publish(deb('tool', '1.0'), deb('tool-data', '1.0'), deb('needs-tool', '1.0'));
      const write = (path: string, text: string, mode = 0o644): void => {
        mkdirSync(join(definitions, template, path, '..'), { recursive: true });
        writeFileSync(join(definitions, template, path), text, { mode });
      };
      write('os/default/package_manager', 'apt\n');
      write('os/default/distribution', 'debian\n');
      write('os/default/packages', 'base-files\n');
      write('os/default/repositories', `${repository.line()}\n`);
      write('os/default/keys', `${good.keyring}\n`);
      write('app/tool/default/packages', 'tool\n');
      write('app/tool/default/pre-install-hn', '#!/bin/sh\necho "$VEID $2 $(test -d "$1/etc" && echo root)" > "$(dirname "$0")/../../../../hook-was-here"\n', 0o755);
      write('app/tool/default/post-install', '#!/bin/sh\necho "$VEID $TEMPLATE $GREETING" > /var/hook\n', 0o755);
      write('app/tool/default/environment', 'GREETING=hello there\n');
      await store.ok('create', 'i1', '--ostemplate', template);
      await store.ok('create', 'i2', '--ostemplate', template);
    }, 2 * MINUTES);

    /** What was said before has come true; scripts may have changed more. */
    const expectSaid = async (container: string, { paths }: Changed, letterOf: (letter: string) => string | undefined = (letter) => letter): Promise<void> => {
      const diff = new Map(((await store.json('diff', container)) as { path: string; letter: string }[]).map(({ path, letter }) => [path, letter]));
      expect(paths).not.toBeNull();
      for (const { path, letter } of paths ?? []) expect(diff.get(path), path).toBe(letterOf(letter));
    };
    let said: Changed;

    test('a dry run names packages and paths, and changes nothing', async () => {
      const plan = await ok('install', 'i1', 'tool', '--dry-run');
      expect(plan.packages.map(({ name, action, to }) => `${action} ${name} ${to ?? ''}`).sort()).toEqual(['install tool 1.0', 'install tool-data 1.0']);
      expect(plan.transaction).toBeNull();
      expect(plan.paths).toContainEqual({ path: '/usr/bin/tool', letter: 'A', package: 'tool', configuration: false });
      expect(plan.paths).toContainEqual({ path: '/etc/tool.conf', letter: 'A', package: 'tool', configuration: true });
      expect(plan.paths?.map(({ path }) => path)).not.toContain('/usr/bin');
      expect(plan.scripts).toEqual(['tool']);
      said = plan;
      expect((await ok('install', 'i1', 'tool', '--dry-run', '--no-paths')).paths).toBeNull();
      expect(await exec('i1', 'command -v tool')).toBe('');
    });

    test('an app template comes into a stopped container, with hooks', async () => {
      const done = await ok('install', 'i1', 'tool');
      expect(done.packages).toHaveLength(2);
      await expectSaid('i1', said);
      expect(done.addedBytes).toBeGreaterThan(60 * 1000);
      expect(await exec('i1', 'tool; cat /var/hook')).toBe(`tool 1.0\ni1 ${template}-tool hello there`);
      expect(readFileSync(join(definitions, 'hook-was-here'), 'utf8')).toBe('i1 i1 root\n');
      expect(await isSound('i1')).toBe('');
      expect(await exec('i1', 'ls /usr/sbin/policy-rc.d /run/templatefs 2>/dev/null')).toBe('');
      const info = (await store.json('info', 'i1')) as { apptemplates: string[]; links: number };
      expect(info.apptemplates).toEqual([`${template}-tool`]);
      expect(info.links).toBeGreaterThan(60);
    });

    test('the second container, which is mounted, gets links to what is there; secrets stay its own', async () => {
      await store.mount('i2');
      await exec('i2', 'head -c 54321 /dev/urandom > /srv/own');
      const done = await ok('install', 'i2', 'tool');
      expect(done.addedBytes).toBeLessThan(30_000);
      expect(done.linkedBytes).toBeGreaterThan(60 * 1000);
      expect(await exec('i2', 'tool')).toBe('tool 1.0');
      const keys = await Promise.all(['i1', 'i2'].map((container) => exec(container, 'sha256sum /etc/tool.key | cut -c1-64')));
      expect(keys[0]).toMatch(/^[0-9a-f]{64}$/);
      expect(keys[0]).not.toBe(keys[1]);
      // No object holds one: contents of 32 bytes are few.
      const small = await runOk('find', [join(store.path, 'objects'), '-type', 'f', '-size', '32c', '-exec', 'sha256sum', '{}', '+']);
      for (const key of keys) expect(small).not.toContain(key);
      // Nor what the container had written by itself before.
      expect(await runOk('find', [join(store.path, 'objects'), '-type', 'f', '-size', '54321c'])).toBe('');
    });

    test('list and status tell templates, packages and what is out of date', async () => {
      const list = (await run('--json', 'list', 'i1')).stdout;
      const { packages } = JSON.parse(list) as { packages: { name: string; template: string | null }[] };
      expect(packages.find(({ name }) => name === 'tool')?.template).toBe(`${template}-tool`);
      expect(packages.find(({ name }) => name === 'dpkg')?.template).toBe(template);
      expect((await run('status', 'i1')).status).toBe(0);
      await publish(deb('tool', '2.0'), deb('tool-data', '2.0'), deb('needs-tool', '1.0'));
      const status = await run('--json', 'status', 'i1');
      expect(status.status, status.stderr).toBe(3);
      expect((JSON.parse(status.stdout) as { outdated: { name: string }[] }).outdated.map(({ name }) => name).sort()).toEqual(['tool', 'tool-data']);
    });

    test('update brings what is newer, keeps changed configuration, and can be rolled back', async () => {
      await exec('i1', 'echo mine >> /etc/tool.conf');
      const plan = await ok('update', 'i1', '--dry-run');
      expect(new Set(plan.paths?.map(({ letter }) => letter))).toEqual(new Set(['C']));
      expect(plan.paths).toHaveLength(62);
      const done = await ok('update', 'i1');
      expect(done.packages.map(({ name, from, to }) => `${name} ${from ?? ''} ${to ?? ''}`).sort()).toEqual(['tool 1.0 2.0', 'tool-data 1.0 2.0']);
      expect(await exec('i1', 'tool; cat /etc/tool.conf; cut -c1-3 /usr/share/tool/7')).toBe('tool 2.0\nversion 1.0\nmine\n2.0');
      const back = await ok('rollback', 'i1');
      expect(back.transaction).toBe(done.transaction);
      expect(await exec('i1', 'tool; cat /etc/tool.conf; cut -c1-3 /usr/share/tool/7; dpkg-query -W -f \'${Version}\' tool')).toBe('tool 1.0\nversion 1.0\nmine\n1.0\n1.0');
    });

    test('a rollback names what was changed since, also while it is mounted', async () => {
      await ok('update', 'i2');
      await exec('i2', 'echo other > /srv/other; echo changed > /usr/share/tool/7');
      const refused = await run('rollback', 'i2');
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain('/usr/share/tool/7');
      await ok('rollback', 'i2', '--force');
      expect(await exec('i2', 'tool; cat /srv/other; cut -c1-3 /usr/share/tool/7')).toBe('tool 1.0\nother\n1.0');
      expect(await isSound('i2')).toBe('');
    });

    test('remove takes an app template away, but nothing that others need', async () => {
      await ok('install', 'i1', '-p', 'needs-tool');
      const refused = await run('remove', 'i1', 'tool');
      expect(refused.status, refused.stderr).toBe(14);
      expect(refused.stderr).toContain('needs-tool');
      said = await ok('remove', 'i1', 'tool', '--with-dependants', '--dry-run');
      expect(said.paths?.map(({ letter, path }) => `${letter} ${path}`)).toContain('D /usr/bin/tool');
      // As apt removes it, its configuration stays.
      expect(said.paths?.map(({ path }) => path)).not.toContain('/etc/tool.conf');
      await ok('remove', 'i1', 'tool', '--with-dependants');
      await expectSaid('i1', said, () => undefined);
      expect(await exec('i1', 'command -v tool; ls /usr/share/tool /etc/tool.key 2>/dev/null')).toBe('');
      expect(((await store.json('info', 'i1')) as { apptemplates: string[] }).apptemplates).toEqual([]);
    });

    test('a package file of the host is installed with what it needs; names that are not there are named', async () => {
      await ok('localinstall', 'i1', deb('needs-tool', '1.0'));
      expect(await exec('i1', 'dpkg-query -W -f \'${Status}\' needs-tool; tool')).toBe('install ok installedtool 2.0');
      const missing = await run('install', 'i1', '-p', 'no-such-package');
      expect(missing.status).toBe(10);
      expect(missing.stderr).toContain('no-such-package');
      expect((await run('install', 'i1', '-p', 'tool-')).status).toBe(2);
    });

    test('metadata and packages that are not as signed are refused', async () => {
      const packages = [deb('tool', '2.0'), deb('tool-data', '2.0')];
      const expectRefused = async (...args: string[]): Promise<void> => {
        const ended = await run('--json', 'install', 'i1', '-p', 'tool', '--force', '--refresh', ...args);
        expect(ended.status, ended.stderr).toBe(12);
      };
      await repository.publish({ packages, key: undefined });
      const unsigned = await run('install', 'i1', '-p', 'tool', '--refresh', '--force', '--dry-run');
      // What was fetched before is still good, and no mirror has an InRelease: a notice, no failure.
      expect(unsigned.stderr).toContain('cannot be reached');
      await repository.publish({ packages, key: await makeKey('other') });
      await expectRefused();
      await repository.publish({ packages, key: good, validUntil: new Date(Date.now() - 1000) });
      await expectRefused();
      await repository.publish({ packages, key: good });
      writeFileSync(`${repository.packagesFile}.gz`, 'tampered');
      rmSync(join(store.path, 'cache/metadata'), { recursive: true });
      await expectRefused();
      await publish(...packages);
      await store.ok('clean');
      writeFileSync(repository.poolFile('tool', '2.0'), 'tampered');
      await expectRefused();
      expect(readdirSync(join(store.path, 'cache/packages')).filter((name) => name.includes('tmp'))).toEqual([]);
      await publish(...packages);
    });

    test('a hostile package script stays in its container', async () => {
      const canary = join(scratch.makeFolder('host'), 'canary');
      await buildDeb(debs, {
        name: 'hostile', version: '1.0',
        scripts: {
          afterInstall: [
            `echo out > ${canary} || true`,
            'echo out > ../../../../../../hostile-was-here || true',
            `cat ${store.path}/catalog.sqlite > /srv/stolen 2>/dev/null || true`,
            'echo changed > /run/templatefs/apt.conf 2>/dev/null && echo wrote-input >> /srv/done || true',
            'for file in /run/templatefs/packages/*; do echo changed >> "$file" && echo wrote-package >> /srv/done || true; done 2>/dev/null',
            'mount -t tmpfs none /mnt 2>/dev/null && echo mounted >> /srv/done || true',
            "(getfattr -n trusted.templatefs.link /usr/bin/dpkg || setfattr -n trusted.templatefs.link -v x /srv/stolen) 2>/dev/null && echo forged >> /srv/done || true",
            '(exec 3<>/dev/tcp/127.0.0.1/1) 2>/dev/null || true',
            'setsid sh -c "while :; do date > /srv/alive; sleep 0.1; done" >/dev/null 2>&1 &',
            'echo ran >> /srv/done',
          ].join('\n'),
        },
      });
      await publish(deb('hostile', '1.0'));
      await ok('install', 'i1', '-p', 'hostile', '--refresh');
      expect(await exec('i1', 'cat /srv/done')).toBe('ran');
      expect(existsSync(canary)).toBe(false);
      expect(existsSync('/hostile-was-here')).toBe(false);
      expect(await exec('i1', 'cat /srv/stolen')).toBe('');
      const alive = await exec('i1', 'cat /srv/alive');
      await sleep(300);
      expect(await exec('i1', 'cat /srv/alive')).toBe(alive);
      await publish(deb('tool', '1.0'), deb('tool-data', '1.0'));
    });

    test('a script that fails leaves the container as before', async () => {
      await buildDeb(debs, { name: 'broken', version: '1.0', files: { '/usr/bin/broken': 'x' }, scripts: { afterInstall: 'echo half > /srv/half; exit 1' } });
      await publish(deb('broken', '1.0'));
      const before = await store.ok('diff', 'i1');
      const failed = await run('install', 'i1', '-p', 'broken', '--refresh');
      expect(failed.status, failed.stderr).toBe(14);
      expect(await store.ok('diff', 'i1')).toBe(before);
      expect(await exec('i1', 'ls /usr/bin/broken /srv/half 2>/dev/null; dpkg --audit')).toBe('');
      await publish(deb('tool', '1.0'), deb('tool-data', '1.0'));
    });

    test(`killed at any point it is as before or as after (${KILLS} kills)`, { timeout: (2 + KILLS) * MINUTES }, async () => {
      await store.ok('create', 'k1', '--ostemplate', template);
      const state = async (): Promise<string> => exec('k1', "dpkg-query -W -f '${Package} ${Version} ${Status}\\n' tool tool-data 2>/dev/null; tool; ls /usr/share/tool 2>/dev/null | wc -l; dpkg --audit; dpkg --verify");
      await killOperations({ store, container: 'k1', env, operations: [['install', 'k1', 'tool'], ['remove', 'k1', 'tool']], kills: KILLS, ways: ['stopped', 'mounted'], state });
      await store.ok('destroy', 'k1');
    });

    test('several containers at once: what fails is named, status 3', async () => {
      await store.ok('create', 'm1', '--ostemplate', template);
      const ended = await run('--json', 'install', 'm1,no-such-container', 'tool');
      expect(ended.status, ended.stderr).toBe(3);
      const { containers, failed } = JSON.parse(ended.stdout) as { containers: { name: string }[]; failed: { name: string; code: string }[] };
      expect(containers.map(({ name }) => name)).toEqual(['m1']);
      expect(failed).toMatchObject([{ name: 'no-such-container', code: 'CONTAINER_NOT_FOUND' }]);
    });

    test('a template with an app: containers start with it, and without its secrets', async () => {
      const create = ['template', 'create', template, '--apptemplate', 'tool', '--as', 'with-tool'];
      const refused = await run('--json', ...create);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(/"BAD_DEFINITION".*\/etc\/tool\.key.*app\/tool\/default\/secrets/s);
      writeFileSync(join(definitions, template, 'app/tool/default/secrets'), '/etc/tool.key remake umask 077; head -c 32 /dev/urandom > /etc/tool.key\n');
      await ok(...create);
      for (const container of ['w1', 'w2']) await ok('create', container, '--ostemplate', 'with-tool');
      const keyOf = (container: string): Promise<string> => exec(container, 'stat -c "%a %s" /etc/tool.key; sha256sum < /etc/tool.key');
      const keys = await Promise.all(['w1', 'w2'].map(keyOf));
      expect(keys[0]).toMatch(/^600 32\n/);
      expect(keys[0]).not.toBe(keys[1]);
      const { tree } = (await store.json('template', 'info', 'with-tool')) as { tree: string };
      const names = await runOk(ENGINE, ['dump', join(store.path, 'trees', tree)]);
      expect(names).toContain('tool.conf');
      expect(names).not.toContain('tool.key');
      expect(((await store.json('info', 'w1')) as { apptemplates: string[] }).apptemplates).toEqual([`${template}-tool`]);
      expect(await exec('w1', 'tool')).toBe('tool 1.0');
      expect((await store.json('list') as { name: string }[]).filter(({ name }) => name.startsWith('temporary-'))).toEqual([]);
    });

    test('a template is brought up to date; containers keep theirs', async () => {
      const update = async (...more: string[]): Promise<{ updated: boolean; version: number; outdated: { name: string }[] }> =>
        (await ok('template', 'update', 'with-tool', ...more)) as unknown as { updated: boolean; version: number; outdated: { name: string }[] };
      expect(await update()).toMatchObject({ updated: false, version: 1, outdated: [] });
      await publish(deb('tool', '2.0'), deb('tool-data', '2.0'));
      expect((await update('--dry-run')).outdated.map(({ name }) => name).sort()).toEqual(['tool', 'tool-data']);
      expect(await update()).toMatchObject({ updated: true, version: 2 });
      await ok('create', 'w3', '--ostemplate', 'with-tool');
      expect([await exec('w1', 'tool'), await exec('w3', 'tool')]).toEqual(['tool 1.0', 'tool 2.0']);
      expect((await run('template', 'update', 'no-such-template')).status).toBe(10);
      await store.ok('destroy', 'w3');
      await publish(deb('tool', '1.0'), deb('tool-data', '1.0'));
    });

    test('real PHP from the real mirror', async () => {
      const mirror = { TEMPLATEFS_TEMPLATES: '' };
      const ended = await store.run(['--json', 'install', 'm1', 'php'], { env: mirror, timeoutMs: 6 * MINUTES });
      expect(ended.status, ended.stderr).toBe(0);
      expect(await exec('m1', 'php -r "echo 6 * 7;"')).toBe('42');
      expect(await exec('m1', 'dpkg --verify; dpkg --audit')).toBe('');
    });

    test('leaves no work folder, and all that it made can go', async () => {
      expect(readdirSync(join(store.path, 'cache/work'))).toEqual([]);
      await store.ok('umount', 'i2');
      for (const container of ['i1', 'i2', 'm1', 'w1', 'w2']) await store.ok('destroy', container);
      await store.ok('template', 'remove', 'with-tool');
      await store.expectSound();
    });
  });
}
