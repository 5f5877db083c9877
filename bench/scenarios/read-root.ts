import type { Scenario } from './scenario.js';

export const readRoot: Scenario = {
  name: 'read-root',
  what: 'every regular file of the root is opened, read whole in 128 KiB pieces and closed (timed inside the process)',
  meaning: 'backup, tar, virus scan, grep -r; cold also the upper end of a container start: all that a service loads',
  caches: ['cold', 'warm'],
  changesRoot: false,
  run: (root, { driver, signal }) => driver.run(['read-root', root], signal),
};
