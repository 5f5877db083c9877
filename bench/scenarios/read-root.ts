import { COLD, SLOW_IN_JAVASCRIPT, WARM, type Scenario } from './scenario.js';

export const readRoot: Scenario = {
  name: 'read-root',
  group: 'work',
  what: 'every regular file of the root is opened, read whole in 128 KiB pieces and closed',
  meaning: 'backup, virus scan, grep -r; cold also the upper end of a container start: all that a service loads',
  durability: 'nothing is written',
  variants: [COLD, WARM],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_IN_JAVASCRIPT,
  run: (root, { driver, signal }) => driver.run(['read-root', root.path], signal),
};
