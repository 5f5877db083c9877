import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildSamples, makeRpmDistribution, type RpmDistribution } from '../support/rpm-distribution.js';
import { buildRpm } from '../support/rpm-repository.js';
import { useScratch } from '../support/scratch.js';
import { useSigningKeys, type SigningKey } from '../support/signing-key.js';

/* Replays of what dnf and zypper do; test/e2e/replay-cases.ts has those of apt. The tests of each build on one another. */

const MINUTE = 60_000;
const scratch = useScratch();
const makeKey = useSigningKeys(scratch);

interface Changed {
  readonly replayed: boolean;
  readonly addedBytes: number;
  readonly linkedBytes: number;
}

describe.each(['dnf', 'zypper'] as const)('%s', { timeout: 5 * MINUTE }, (manager) => {
  const store = scratch.makeStore();
  let key: SigningKey;
  let distribution: RpmDistribution;
  let secret = '';
  let samples: Awaited<ReturnType<typeof buildSamples>>;

  const run = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await store.run(args, { env: { TEMPLATEFS_TEMPLATES: distribution.definitions }, timeoutMs: 3 * MINUTE });
    expect(status, `${args.join(' ')}\n${stderr}\n${stdout}`).toBe(0);
    return stdout;
  };
  const change = async (...args: string[]): Promise<Changed> => JSON.parse(await run('--json', ...args)) as Changed;
  const inContainer = (container: string, script: string): Promise<string> => run('exec', container, '--no-network', '--', 'sh', '-ec', script);
  /** All that the packages have brought, when their scripts ran, and what rpm says of it. */
  const stateOf = (container: string): Promise<string> => inContainer(container,
    'rpm -qa --qf "%{NAME} %{VERSION} %{INSTALLTIME}\\n" "sample*" | sort; cat /srv/sample-log; find /opt /etc/sample.conf /srv/sample -type f -exec sha256sum {} + | sort; rpm -Va | grep -v " /\\(proc\\|dev\\|run\\|tmp\\)$" || true');
  const records = (): string[] => (existsSync(join(store.path, 'cache/replays')) ? readdirSync(join(store.path, 'cache/replays')) : []);

  beforeAll(async () => {
    key = await makeKey(`replays-${manager}`);
    distribution = await makeRpmDistribution(scratch, manager, key);
    samples = await buildSamples(scratch.makeFolder('samples'), key);
    secret = await buildRpm(scratch.makeFolder('secret'), { name: 'secret', version: '1', scripts: { afterInstall: 'umask 077; head -c 16 /dev/urandom > /srv/secret' } }, { key });
    await distribution.publish([samples.older, samples.library, secret]);
    await run('template', 'create', distribution.name);
    for (const container of ['r1', 'r2', 'r3', 'r4']) await run('create', container, '--ostemplate', distribution.name);
  }, 4 * MINUTE);

  test('what was done in one container is put into others that are as it was; their own files stay', async () => {
    await inContainer('r2', 'echo mine > /root/mine; mkdir -p /srv/own');
    const first = await change('install', 'r1', 'sample');
    expect(first.replayed).toBe(false);
    expect(records()).toHaveLength(1);
    expect(await change('install', 'r2', 'sample')).toMatchObject({ replayed: true, addedBytes: 0, linkedBytes: first.linkedBytes });
    // Also the time of the installation: nothing was installed here.
    expect(await stateOf('r2')).toBe(await stateOf('r1'));
    expect(await inContainer('r2', 'cat /root/mine; ls -d /srv/own; /opt/sample/run')).toBe('mine\n/srv/own\nsample 1\n');
  });

  test('what was read is another in this container: the package manager does it', async () => {
    await inContainer('r3', 'echo before > /srv/sample-log');
    expect((await change('install', 'r3', 'sample')).replayed).toBe(false);
    expect(await inContainer('r3', 'cat /srv/sample-log')).toBe('before\ninstalled 1\n');
    // The database of packages is another one.
    await change('install', 'r4', '-p', 'sample-lib');
    expect((await change('install', 'r4', 'sample')).replayed).toBe(false);
    expect(await inContainer('r4', 'rpm -qa "sample*" | sort')).toBe('sample-1-1.noarch\nsample-lib-1-1.noarch\n');
    for (const container of ['r3', 'r4']) {
      await run('destroy', container);
      await run('create', container, '--ostemplate', distribution.name);
    }
  });

  test('nor in a mounted container, nor when it is told not to', async () => {
    await run('mount', 'r3');
    expect((await change('install', 'r3', 'sample')).replayed).toBe(false);
    await run('rollback', 'r3');
    await run('umount', 'r3');
    expect((await change('install', 'r4', 'sample', '--no-replay')).replayed).toBe(false);
    await run('rollback', 'r4');
  });

  test('an update and a removal are replayed, and can be taken back', async () => {
    await distribution.publish([samples.older, samples.newer, samples.library, secret]);
    expect((await change('update', 'r1', '--refresh')).replayed).toBe(false);
    expect((await change('update', 'r2')).replayed).toBe(true);
    expect(await stateOf('r2')).toBe(await stateOf('r1'));
    expect(await inContainer('r2', '/opt/sample/run; ls /opt/sample')).toBe('sample 2\nchanges\nonly-2\nrun\nstays\n');
    await run('rollback', 'r2');
    expect(await inContainer('r2', '/opt/sample/run; rpm -q sample')).toBe('sample 1\nsample-1-1.noarch\n');
    expect((await change('update', 'r2')).replayed).toBe(true);
    expect((await change('remove', 'r1', 'sample')).replayed).toBe(false);
    expect((await change('remove', 'r2', 'sample')).replayed).toBe(true);
    expect(await inContainer('r2', 'rpm -qa "sample*"; find /opt -type f; cat /root/mine; rpm -Va | grep -v " /\\(proc\\|dev\\|run\\|tmp\\)$" || true')).toBe('mine\n');
  });

  test('secrets are in no record', async () => {
    const before = records();
    for (const container of ['r3', 'r4']) expect((await change('install', container, '-p', 'secret')).replayed).toBe(false);
    expect(records()).toEqual(before);
    expect(await inContainer('r3', 'sha256sum /srv/secret')).not.toBe(await inContainer('r4', 'sha256sum /srv/secret'));
  });

  test('leaves a sound store', () => store.expectSound());
});
