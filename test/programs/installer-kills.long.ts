import { beforeAll, expect, test } from 'vitest';
import { killOperations } from '../support/kill-operations.js';
import { makeMiniDebian, type MiniDebian } from '../support/mini-debian.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* apt and dpkg killed at random points of install, update and remove; `npm run test:installer -- --kills N`. */

const MINUTES = 60_000;
const KILLS = Number(process.env['TEMPLATEFS_INSTALLER_KILLS'] ?? 9);
const scratch = useScratch();
let store: TestStore;
let mini: MiniDebian;

beforeAll(async () => {
  store = scratch.makeStore();
  mini = await makeMiniDebian(scratch, store);
});

/**
 * @param app `tool` makes a secret, so it is never replayed; `plain` makes none
 */
async function killAll(container: string, app: 'tool' | 'plain', kills: number, ways: readonly ('stopped' | 'mounted' | 'replayed')[]): Promise<void> {
  await store.ok('create', container, '--ostemplate', mini.template);
  const state = async (): Promise<string> => (await store.run(['exec', container, '--no-network', '--', 'sh', '-c',
    `dpkg-query -W -f '\${Package} \${Version} \${Status}\\n'; ${app}; ls /usr/share/${app} | wc -l; cat /etc/${app}.conf /var/log/${app}.log /usr/share/${app}/* | sha256sum; ls /usr/sbin/policy-rc.d; dpkg --audit; dpkg --verify`])).stdout;
  const ask = (which: 'old' | 'new'): Promise<unknown> => store.run(['status', container], { env: mini.environment(which) });
  const withRepository = async (which: 'old' | 'new', count: number, ...operations: string[][]): Promise<void> => {
    // The metadata of both repositories are kept for hours: they are asked for here.
    await ask(which);
    await killOperations({ store, container, env: mini.environment(which), operations, kills: count, ways, state });
  };
  const ofInstall = Math.round(kills / 3);
  await withRepository('old', ofInstall, ['install', container, app]);
  expect(await state()).toContain(`${app} 1.0`);
  await withRepository('new', kills - ofInstall, ['update', container], ['remove', container, app]);
  await store.ok('destroy', container);
}

test(`apt killed at any point of install, update and remove: as before or as after (${KILLS} kills)`, { timeout: (10 + KILLS) * MINUTES }, async () => {
  const replays = Math.floor(KILLS / 3);
  await killAll('k1', 'tool', KILLS - replays, ['stopped', 'mounted']);
  await killAll('k2', 'plain', replays, ['replayed']);
  await store.expectSound();
});
