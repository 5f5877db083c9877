import { describe, expect, test } from 'vitest';
import { killOperations } from '../support/kill-operations.js';
import { buildSamples, makeRpmDistribution } from '../support/rpm-distribution.js';
import { useScratch } from '../support/scratch.js';
import { useSigningKeys } from '../support/signing-key.js';

/* dnf and zypper killed at random points of install, update and remove; `npm run test:installer -- --kills N`. What is replayed is killed with apt. */

const MINUTES = 60_000;
const KILLS = Number(process.env['TEMPLATEFS_INSTALLER_KILLS'] ?? 9);
const scratch = useScratch();
const makeKey = useSigningKeys(scratch);

describe.each(['dnf', 'zypper'] as const)('%s', (manager) => {
  test(`killed at any point of install, update and remove: as before or as after (${KILLS} kills)`, { timeout: (10 + KILLS) * MINUTES }, async () => {
    const store = scratch.makeStore();
    const key = await makeKey(manager);
    const distribution = await makeRpmDistribution(scratch, manager, key);
    const samples = await buildSamples(scratch.makeFolder('samples'), key);
    await distribution.publish([samples.older, samples.newer, samples.library]);
    const env = { TEMPLATEFS_TEMPLATES: distribution.definitions };
    const made = await store.run(['template', 'create', distribution.name], { env, timeoutMs: 3 * MINUTES });
    expect(made.status, made.stderr).toBe(0);
    await store.ok('create', 'killed', '--ostemplate', distribution.name);
    // Folders over which the sandbox mounts its own are left out.
    const state = async (): Promise<string> => (await store.run(['exec', 'killed', '--no-network', '--', 'sh', '-c',
      'rpm -qa --qf "%{NAME} %{VERSION}\\n" "sample*" | sort; rpm -Va | grep -v " /\\(proc\\|dev\\|run\\|tmp\\)$"; find /opt /srv /etc/sample.conf -type f -exec cat {} + 2>/dev/null | sha256sum; /opt/sample/run'])).stdout;
    const operations = [['install', 'killed', '-p', 'sample-1'], ['update', 'killed'], ['remove', 'killed', '-p', 'sample']];
    await killOperations({ store, container: 'killed', env, operations, kills: KILLS, ways: ['stopped', 'mounted'], state });
    await store.ok('destroy', 'killed');
    await store.expectSound();
  });
});
