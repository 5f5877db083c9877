import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { StorePaths } from '../../src/core/store-paths.js';
import { driverFor } from '../../src/packages/drivers.js';
import { PackageCache } from '../../src/packages/package-cache.js';
import type { ContainerPrograms, PackageChange, PackageHost, PackageRequest, PackageSource } from '../../src/packages/package-manager.js';
import { bootstrapTemplate } from '../../src/templates/bootstrap-template.js';
import { loadDefinition } from '../../src/templates/load-definition.js';
import { runChecked } from '../support/program-root.js';
import { buildSamples, makeRpmDistribution, NEWER, OLDER, sampleContent, type RpmDistribution } from '../support/rpm-distribution.js';
import { buildRpm } from '../support/rpm-repository.js';
import { sandboxPrograms } from '../support/sandbox-programs.js';
import { useScratch } from '../support/scratch.js';
import { useSigningKeys, type SigningKey } from '../support/signing-key.js';
import { flipByte } from '../support/store-damage.js';

/*
 * The drivers of dnf and zypper: the real programs in a real root that they have bootstrapped, on repositories that are made here. The
 * tests of each build on one another.
 */
const MINUTE = 60_000;
const scratch = useScratch();
const makeKey = useSigningKeys(scratch);
let key: SigningKey;
let other: SigningKey;

beforeAll(async () => {
  [key, other] = await Promise.all([makeKey('good'), makeKey('other')]);
});

describe.each(['dnf', 'zypper'] as const)('%s', { timeout: 5 * MINUTE }, (manager) => {
  const driver = driverFor(manager);
  const store = scratch.makeStore();
  const cacheStore = scratch.makeFolder('cache');
  const host: PackageHost = { cache: new PackageCache(new StorePaths(cacheStore)), makeWorkFolder: async () => scratch.makeFolder('work') };
  let distribution: RpmDistribution;
  let samples: Awaited<ReturnType<typeof buildSamples>>;
  let source: PackageSource;
  let root = '';
  let programs: ContainerPrograms;
  const said: string[] = [];

  /** Runs in the root's own programs. @returns stdout */
  const inRoot = async (script: string): Promise<string> => {
    const { status, output, errors } = await sandboxPrograms(root).run({ script });
    expect(status, errors).toBe(0);
    return output;
  };
  const verify = (): Promise<string> => inRoot('rpm -Va --nomtime | grep -v "^.M.* /\\(proc\\|dev\\|run\\|tmp\\)$" || true');

  const change = async (request: PackageRequest): Promise<readonly PackageChange[]> => {
    said.length = 0;
    await driver.refresh(host, source, { maxAgeMs: 0 });
    const plan = await driver.plan(host, programs, source, request);
    const fetched = await Promise.all(plan.downloads.map((file) => host.cache.fetch(file)));
    await driver.apply(host, programs, source, { request, plan, fetched });
    return plan.changes;
  };
  const install = (...packages: string[]): Promise<readonly PackageChange[]> => change({ kind: 'install', packages, groups: [], files: [] });
  const installedSamples = async (): Promise<string[]> => (await driver.installed(programs)).filter(({ name }) => name.startsWith('sample')).map(({ name, version }) => `${name} ${version}`).sort();

  beforeAll(async () => {
    distribution = await makeRpmDistribution(scratch, manager, key);
    samples = await buildSamples(scratch.makeFolder('samples'), key);
    await distribution.publish([samples.older, samples.library]);
    const definition = await loadDefinition(distribution.name, { searchPath: [distribution.definitions] });
    source = { ...definition, template: definition.name };
    const archive = scratch.path('root.tar');
    const { stream, finished } = bootstrapTemplate(definition, { workDir: scratch.makeFolder('bootstrap'), packageHost: host });
    await pipeline(stream, createWriteStream(archive));
    await finished;
    await store.make(archive, 'c1');
    root = await store.mount('c1');
    programs = sandboxPrograms(root, (line) => said.push(line));
  }, 3 * MINUTE);

  test('the bootstrapped root: its packages, in order, and nothing of the host', async () => {
    const names = (await driver.installed(programs)).map(({ name }) => name).sort();
    expect(names).toEqual(manager === 'dnf' ? ['mini-base', 'mini-dnf', 'mini-python3', 'mini-rpm'] : ['mini-base', 'mini-rpm', 'mini-zypper']);
    expect(await verify()).toBe('');
    expect(await inRoot('rpm -Va --nofiles; rpm --eval %_dbpath; ls /usr/lib/sysimage/rpm; cat /etc/hostname; ls -A /run /dev/shm /var/cache /var/log')).not.toContain('host-run');
  });

  test('installs the older version with what it needs', async () => {
    const changes = await install('sample');
    expect([...changes].sort((a, b) => a.name.localeCompare(b.name))).toEqual([
      { name: 'sample', architecture: 'noarch', action: 'install', from: null, to: '1-1' },
      { name: 'sample-lib', architecture: 'noarch', action: 'install', from: null, to: '1-1' },
    ]);
    expect(await installedSamples()).toEqual(['sample 1-1', 'sample-lib 1-1']);
    expect(await inRoot('/opt/sample/run; cat /srv/sample-log')).toBe('sample 1\ninstalled 1\n');
    expect(await verify()).toBe('');
    expect(await driver.outdated(host, programs, source)).toEqual([]);
  });

  test('updates to the newer version; a setting that was changed stays', async () => {
    await inRoot('echo mine > /etc/sample.conf');
    await distribution.publish([samples.older, samples.newer, samples.library]);
    await driver.refresh(host, source, { maxAgeMs: 0 });
    const wanted = [{ name: 'sample', architecture: 'noarch', action: 'upgrade', from: '1-1', to: '2-1' }];
    expect(await driver.outdated(host, programs, source)).toEqual(wanted);
    expect(await change({ kind: 'update', packages: [] })).toEqual(wanted);
    expect(await installedSamples()).toEqual(['sample 2-1', 'sample-lib 1-1']);
    expect(await inRoot('/opt/sample/run; ls /opt/sample; cat /etc/sample.conf /etc/sample.conf.rpmnew')).toBe('sample 2\nchanges\nonly-2\nrun\nstays\nmine\nsetting 2\n');
    expect(await verify()).toMatch(/^S\.5\S* +c \/etc\/sample\.conf\n$/);
    await inRoot('mv /etc/sample.conf.rpmnew /etc/sample.conf');
    expect(await driver.outdated(host, programs, source)).toEqual([]);
  });

  test('removes: what others need only if told so; then also what nobody needs any more', async () => {
    await expect(change({ kind: 'remove', packages: ['sample-lib'], withDependants: false })).rejects.toMatchObject({ code: 'PACKAGE_MANAGER_FAILED', message: expect.stringContaining('needed by sample') as string });
    expect(await installedSamples()).toEqual(['sample 2-1', 'sample-lib 1-1']);
    const changes = await change({ kind: 'remove', packages: ['sample'], withDependants: false });
    expect(changes.map(({ name, action }) => `${action} ${name}`).sort()).toEqual(['remove sample', 'remove sample-lib']);
    expect(await installedSamples()).toEqual([]);
    expect(await inRoot('find /opt /etc/sample.conf -type f 2>/dev/null || true')).toBe('');
    await install('sample');
    await change({ kind: 'remove', packages: ['sample-lib'], withDependants: true });
    expect(await installedSamples()).toEqual([]);
  });

  test('a version that is asked for, the same again, and an older one by force; a file of the host', async () => {
    await install(`sample-${OLDER}`);
    expect(await installedSamples()).toEqual(['sample 1-1', 'sample-lib 1-1']);
    writeFileSync(join(root, 'opt/sample/changes'), 'spoiled');
    expect(await verify()).toMatch(/^S\.5\S* +\/opt\/sample\/changes\n$/);
    const again = await change({ kind: 'install', packages: [`sample-${OLDER}`], groups: [], files: [], force: true });
    expect(again).toEqual([{ name: 'sample', architecture: 'noarch', action: 'reinstall', from: '1-1', to: '1-1' }]);
    expect(await verify()).toBe('');
    const local = await buildRpm(scratch.makeFolder('local'), { name: 'local', version: '3', files: { '/opt/local': 'local' }, requires: ['sample-lib'] });
    expect(await change({ kind: 'install', packages: [], groups: [], files: [local] })).toEqual([{ name: 'local', architecture: 'noarch', action: 'install', from: null, to: '3-1' }]);
    expect(await inRoot('cat /opt/local')).toBe('local');
    await change({ kind: 'remove', packages: ['local', 'sample'], withDependants: false });
    expect(await installedSamples()).toEqual([]);
  });

  test.each([
    ['no such package', 'nothing-like-it', 'PACKAGE_NOT_FOUND', /nothing-like-it/],
    ['a name that is an option', '--help', 'USAGE', /--help/],
    ['a name that is a path', '/etc/passwd', 'USAGE', /passwd/],
  ])('%s', async (_, name, code, message) => {
    await expect(install(name)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  test('a package that cannot be installed: its reason', async () => {
    const needy = await buildRpm(scratch.makeFolder('needy'), { name: 'needy', version: '1', requires: ['what-nobody-has'] }, { key });
    await distribution.publish([needy]);
    await expect(install('needy')).rejects.toMatchObject({ code: 'PACKAGE_MANAGER_FAILED', message: expect.stringContaining('what-nobody-has') as string });
    await expect(change({ kind: 'remove', packages: ['needy'], withDependants: false })).rejects.toMatchObject({ code: 'PACKAGE_NOT_FOUND' });
  });

  describe('refuses', () => {
    const newest = (version: string): Parameters<typeof buildRpm>[1] => ({ ...sampleContent(version), requires: [] });
    const refused = async (message: RegExp): Promise<void> => {
      await expect(install('sample')).rejects.toMatchObject({ code: 'INTEGRITY', message: expect.stringMatching(message) as string });
      expect(await installedSamples()).toEqual([]);
    };

    test('packages that are not signed', async () => {
      await distribution.publish([await buildRpm(scratch.makeFolder('p'), newest('5'))]);
      await refused(/not signed by the keys of the definition.*sample-5-1/);
    });

    test('packages that somebody else has signed', async () => {
      await distribution.publish([await buildRpm(scratch.makeFolder('p'), newest('6'), { key: other })]);
      await refused(/not signed by the keys of the definition.*sample-6-1/);
    });

    test('packages that were changed', async () => {
      await distribution.publish([await buildRpm(scratch.makeFolder('p'), newest('7'), { key })]);
      const file = distribution.repository.packageFile('sample', '7');
      flipByte(file, readFileSync(file).length - 20);
      await refused(/sample-7-1\.noarch\.rpm is not the file that the signed metadata name/);
    });

    test('metadata that are not signed, or by somebody else, or by a key that has expired', async () => {
      const packages = [await buildRpm(scratch.makeFolder('p'), newest('8'), { key })];
      await distribution.publish(packages, null);
      await refused(/not signed/);
      await distribution.publish(packages, other);
      await refused(/a key that the definition does not have/);
      const expired = await makeKey('old', { isExpired: true });
      await distribution.publish(packages, expired);
      const before = source;
      source = { ...source, keys: [...source.keys, expired.keyring] };
      await refused(/has expired/);
      source = before;
    });

    test('what the container proposes and no signed repository has', async () => {
      await distribution.publish([samples.older, samples.library]);
      const before = programs;
      programs = {
        async run(command) {
          const answer = await before.run(command);
          return { ...answer, output: answer.output.replaceAll('1-1', '9-9') };
        },
      };
      await refused(/no signed repository has/);
      programs = before;
    });
  });

  test('a script that fails is told; versions beyond', async () => {
    const broken = await buildRpm(scratch.makeFolder('broken'), { name: 'broken', version: NEWER, scripts: { beforeInstall: 'echo told-by-the-script >&2; exit 1' } }, { key });
    await distribution.publish([broken]);
    await expect(install('broken')).rejects.toMatchObject({ code: 'PACKAGE_MANAGER_FAILED' });
    expect(said.join('\n')).toContain('told-by-the-script');
  });

  test('leaves the template as it was', async () => {
    await store.ok('umount', 'c1');
    await store.expectSound();
    const before = store.sharedFiles();
    await store.mount('c1');
    expect(store.sharedFiles()).toEqual(before);
    await runChecked('test', ['!', '-e', join(root, 'run/templatefs')]);
  });
});
