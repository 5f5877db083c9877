import type { Scenario } from './scenario.js';

export const walkRoot: Scenario = {
  name: 'walk-root',
  what: 'find ROOT -ls to /dev/null (the start of find, about a millisecond, is part of the time)',
  meaning: 'find, du, rsync, git status, dpkg --verify: what lists folders and looks at each entry, but reads no content',
  caches: ['cold', 'warm'],
  changesRoot: false,
  run: (root, { driver, signal }) => driver.run(['run', 'find', root, '-ls'], signal),
};
