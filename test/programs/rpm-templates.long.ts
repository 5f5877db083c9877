import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildSamples, makeRpmDistribution, sampleContent, type RpmDistribution } from '../support/rpm-distribution.js';
import { buildRpm } from '../support/rpm-repository.js';
import type { RunOptions } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import { useSigningKeys, type SigningKey } from '../support/signing-key.js';
import { flipByte } from '../support/store-damage.js';
import { expectRefusal } from '../support/test-store.js';

/*
 * OS templates of RPMs and what is installed into their containers, by the command line: the real dnf and zypper on a distribution and
 * repositories that are made here. The tests of each build on one another.
 */
const MINUTE = 60_000;
const scratch = useScratch();
const makeKey = useSigningKeys(scratch);

describe.each(['dnf', 'zypper'] as const)('%s', { timeout: 5 * MINUTE }, (manager) => {
  const store = scratch.makeStore();
  let key: SigningKey;
  let distribution: RpmDistribution;
  let samples: Awaited<ReturnType<typeof buildSamples>>;
  const options = (): RunOptions => ({ env: { TEMPLATEFS_TEMPLATES: distribution.definitions }, timeoutMs: 3 * MINUTE });

  const run = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await store.run(args, options());
    expect(status, `${args.join(' ')}\n${stderr}\n${stdout}`).toBe(0);
    return stdout;
  };
  const inContainer = (container: string, script: string): Promise<string> => run('exec', container, '--no-network', '--', 'sh', '-ec', script);
  const packagesOf = (container: string): Promise<string> => inContainer(container, 'rpm -qa --qf "%{NAME} %{VERSION}\\n" "sample*" | sort');
  /** All files of all packages, as rpm's database has them; folders over which the sandbox mounts its own are left out. */
  const verify = (container: string): Promise<string> => inContainer(container, 'rpm -Va | grep -v " /\\(proc\\|dev\\|run\\|tmp\\)$" || true');

  beforeAll(async () => {
    key = await makeKey(`good-${manager}`);
    distribution = await makeRpmDistribution(scratch, manager, key);
    samples = await buildSamples(scratch.makeFolder('samples'), key);
    await distribution.publish([samples.older, samples.library]);
    await run('template', 'create', distribution.name);
    for (const container of ['stopped', 'running']) await run('create', container, '--ostemplate', distribution.name);
    await run('mount', 'running');
  }, 4 * MINUTE);

  test('the template is in order, and has nothing that containers must not share', async () => {
    expect(await verify('stopped')).toBe('');
    expect(await inContainer('stopped', 'cat /etc/resolv.conf /etc/hostname; rpm --eval %_dbpath; find /var/cache /var/log -type f')).toBe('localhost\n/usr/lib/sysimage/rpm\n');
  });

  test('a dry run names the paths of packages', async () => {
    const { paths, scripts } = JSON.parse(await run('--json', 'install', 'stopped', 'sample', '--dry-run')) as { paths: { letter: string; path: string; configuration: boolean }[]; scripts: string[] };
    expect(paths.map(({ letter, path }) => `${letter} ${path}`)).toEqual([
      'A /etc/sample.conf', 'A /opt/sample', 'A /opt/sample-lib', 'A /opt/sample-lib/lib', 'A /opt/sample/changes', 'A /opt/sample/only-1', 'A /opt/sample/run', 'A /opt/sample/stays',
      'A /srv/sample', 'A /srv/sample/data',
    ]);
    expect(paths.filter(({ configuration }) => configuration).map(({ path }) => path)).toEqual(['/etc/sample.conf']);
    expect(scripts).toEqual(['sample']);
    expect(await packagesOf('stopped')).toBe('');
  });

  test.each(['stopped', 'running'])('install into a %s container, by the name of the app template', async (container) => {
    const { packages } = JSON.parse(await run('--json', 'install', container, 'sample')) as { packages: { name: string }[] };
    expect(packages.map(({ name }) => name).sort()).toEqual(['sample', 'sample-lib']);
    expect(await packagesOf(container)).toBe('sample 1\nsample-lib 1\n');
    expect(await inContainer(container, '/opt/sample/run; cat /srv/sample-log')).toBe('sample 1\ninstalled 1\n');
    expect(await verify(container)).toBe('');
    expect((await store.run(['status', container], options())).status).toBe(0);
  });

  test('status tells of a newer version, update brings it', async () => {
    await distribution.publish([samples.older, samples.newer, samples.library]);
    const { status, stdout } = await store.run(['--json', 'status', 'running'], options());
    expect(status, stdout).toBe(3);
    expect(stdout).toContain('2-1');
    const { paths } = JSON.parse(await run('--json', 'update', 'stopped', '--refresh', '--dry-run')) as { paths: { letter: string; path: string }[] };
    expect(paths.map(({ letter, path }) => `${letter} ${path}`)).toEqual([
      'C /etc/sample.conf', 'C /opt/sample/changes', 'D /opt/sample/only-1', 'A /opt/sample/only-2', 'C /opt/sample/run', 'C /opt/sample/stays', 'C /srv/sample/data',
    ]);
    for (const container of ['stopped', 'running']) {
      await inContainer(container, 'echo mine > /etc/sample.conf');
      await run('update', container, '--refresh');
      expect(await packagesOf(container)).toBe('sample 2\nsample-lib 1\n');
      expect(await inContainer(container, 'cat /etc/sample.conf')).toBe('mine\n');
      expect(await verify(container)).toMatch(/^S\.5\S* +c \/etc\/sample\.conf\n$/);
    }
  });

  test('remove', async () => {
    for (const container of ['stopped', 'running']) {
      await run('remove', container, 'sample');
      expect(await packagesOf(container)).toBe('');
      expect(await verify(container)).toBe('');
    }
  });

  test.each([
    ['a package that is not signed', async () => distribution.publish([await buildRpm(scratch.makeFolder('p'), { ...sampleContent('5'), requires: [] })])],
    ['a package that was changed', async () => {
      await distribution.publish([await buildRpm(scratch.makeFolder('p'), { ...sampleContent('6'), requires: [] }, { key })]);
      const file = distribution.repository.packageFile('sample', '6');
      flipByte(file, readFileSync(file).length - 20);
    }],
    ['metadata that somebody else has signed', async () => distribution.publish([samples.older, samples.library], await makeKey(`other-${manager}`))],
    ['metadata that are not signed', async () => distribution.publish([samples.older, samples.library], null)],
  ])('%s: refused, and the container is as before', async (_, publish) => {
    await publish();
    await expectRefusal((more) => store.run([...more, 'install', 'stopped', 'sample', '--refresh'], options()), { status: 12, code: 'INTEGRITY', message: /sign|changed/ });
    expect(await packagesOf('stopped')).toBe('');
  });

  test('a template is made anew when its definition has changed, and only then', async () => {
    await distribution.publish([samples.older, samples.newer, samples.library]);
    const update = async (): Promise<{ updated: boolean; version: number; definitionChanged: boolean }> => JSON.parse(await run('--json', 'template', 'update', distribution.name)) as { updated: boolean; version: number; definitionChanged: boolean };
    expect(await update()).toMatchObject({ updated: false, version: 1, definitionChanged: false });
    appendFileSync(join(distribution.definitions, distribution.name, 'os/default/packages'), 'sample\n');
    expect(await update()).toMatchObject({ updated: true, version: 2, definitionChanged: true });
    await run('create', 'fresh', '--ostemplate', distribution.name);
    expect(await packagesOf('fresh')).toBe('sample 2\nsample-lib 1\n');
    expect(await packagesOf('stopped')).toBe('');
  });

  test('a template is not made of metadata that nobody has signed', async () => {
    await distribution.publish([samples.older], null);
    await expectRefusal((more) => store.run([...more, 'template', 'create', distribution.name, '--refresh'], options()), { status: 12, code: 'INTEGRITY', message: /sign/ });
  });

  test('leaves a sound store', async () => {
    await run('umount', 'running');
    await store.expectSound();
  });
});
