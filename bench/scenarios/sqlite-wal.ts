import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { parseSample } from '../runner/driver.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_IN_JAVASCRIPT, USED, type Scenario } from './scenario.js';

const PROGRAM = fileURLToPath(new URL('../driver/sqlite-wal.js', import.meta.url));

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'database');
}

export const sqliteWal: Scenario = {
  name: 'sqlite-wal',
  group: 'work',
  what: 'small transactions on an SQLite database in WAL mode (synchronous=NORMAL), and a checkpoint',
  meaning: 'the database of most programs that need one',
  durability: 'the database is consistent after a power loss; transactions since the last checkpoint may be lost',
  variants: [USED],
  input: 'debian',
  weight: 'medium',
  per: 'transactions',
  without: SLOW_IN_JAVASCRIPT,
  changesRoot: true,
  prepare: async (root) => {
    await rm(placeOf(root), { recursive: true, force: true });
    await mkdir(placeOf(root));
  },
  run: async (root, { quick, signal }) => parseSample(await runProgram(process.execPath, [PROGRAM, placeOf(root), quick ? '2000' : '10000'], { signal })),
};
