import { COLD, WARM, type Scenario } from './scenario.js';

export const walkRoot: Scenario = {
  name: 'walk-root',
  group: 'metadata',
  what: 'find ROOT -ls to /dev/null (the start of find, about a millisecond, is part of the time)',
  meaning: 'find, du, rsync, git status, dpkg --verify: what lists folders and looks at each entry, but reads no content',
  durability: 'nothing is written',
  variants: [COLD, WARM],
  input: 'debian',
  weight: 'medium',
  load: async ({ driver, emptyFolder, signal }) => {
    await driver.run(['run', 'find', emptyFolder, '-ls'], signal);
  },
  run: (root, { driver, signal }) => driver.run(['run', 'find', root.path, '-ls'], signal),
};
