import { beforeAll, expect, test } from 'vitest';
import { killOperations } from '../support/kill-operations.js';
import { makeMiniDebian, type MiniDebian } from '../support/mini-debian.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* apt and dpkg killed at random points of install, update and remove; `npm run test:installer -- --kills N`. */

const MINUTES = 60_000;
const KILLS = Number(process.env['TEMPLATEFS_INSTALLER_KILLS'] ?? 6);
const scratch = useScratch();
let store: TestStore;
let mini: MiniDebian;

beforeAll(async () => {
  store = scratch.makeStore();
  mini = await makeMiniDebian(scratch, store);
});

test(`apt killed at any point of install, update and remove: as before or as after (${KILLS} kills)`, { timeout: (5 + KILLS) * MINUTES }, async () => {
  await store.ok('create', 'k1', '--ostemplate', mini.template);
  const state = async (): Promise<string> => (await store.run(['exec', 'k1', '--no-network', '--', 'sh', '-c',
    "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; tool; ls /usr/share/tool | wc -l; cat /etc/tool.conf /var/log/tool.log /usr/share/tool/* | sha256sum; ls /usr/sbin/policy-rc.d; dpkg --audit; dpkg --verify"])).stdout;
  // What is newer is asked for by --refresh: the metadata of both repositories are kept for hours.
  const withRepository = async (which: 'old' | 'new', ...operations: string[][]): Promise<void> => {
    await killOperations({ store, container: 'k1', env: mini.environment(which), operations, kills: Math.ceil((KILLS * operations.length) / 3), state });
  };
  await withRepository('old', ['install', 'k1', 'tool']);
  expect(await state()).toContain('tool 1.0');
  await withRepository('new', ['update', 'k1'], ['remove', 'k1', 'tool']);
  await store.ok('destroy', 'k1');
  await store.expectSound();
});
