import { COLD, SLOW_IN_JAVASCRIPT, type Scenario } from './scenario.js';

/** tar reads nothing if it finds that its archive is /dev/null; hence the pipe. */
const SCRIPT = 'tar -cf - -C "$1" . | cat > /dev/null';

export const tarUsr: Scenario = {
  name: 'tar-usr',
  group: 'work',
  what: 'tar c of /usr into a pipe',
  meaning: 'backups, docker commit, building an image',
  durability: 'nothing is written',
  variants: [COLD],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_IN_JAVASCRIPT,
  load: async ({ driver, emptyFolder, signal }) => {
    await driver.run(['run', 'sh', '-c', SCRIPT, 'sh', emptyFolder], signal);
  },
  run: (root, { driver, signal }) => driver.run(['run', 'sh', '-c', SCRIPT, 'sh', `${root.path}/usr`], signal),
};
