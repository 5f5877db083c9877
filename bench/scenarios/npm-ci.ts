import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { removeTree } from '../runner/remove-tree.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_PEERS, USED, type RunContext, type Scenario } from './scenario.js';

const PACKAGES = 40;
const FILES = 50;

function npm(folder: string, args: readonly string[]): [string, ...string[]] {
  return ['npm', ...args, '--prefix', folder, '--offline', '--no-audit', '--no-fund', '--loglevel=error', '--cache', join(folder, '.cache')];
}

const ENV = { npm_config_update_notifier: 'false' };

/** A project that depends on packages in archives beside it: no registry is asked. */
function project({ input, signal }: RunContext): Promise<string> {
  return input.prepared('npm', async (folder) => {
    const archives = join(folder, 'archives');
    await mkdir(archives);
    const names = Array.from({ length: PACKAGES }, (_, at) => `package-${at}`);
    for (const name of names) {
      const content = join(folder, 'package');
      await mkdir(join(content, 'lib'), { recursive: true });
      await writeFile(join(content, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'lib/0.js' }));
      for (let file = 0; file < FILES; file++) await writeFile(join(content, 'lib', `${file}.js`), `// ${name} ${file}\n${'exports.value = 1;\n'.repeat(10 + file * 3)}`);
      await runProgram('tar', ['-czf', join(archives, `${name}.tgz`), '-C', folder, 'package'], { signal });
      await removeTree(content);
    }
    const dependencies = Object.fromEntries(names.map((name) => [name, `file:archives/${name}.tgz`]));
    await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'project', version: '1.0.0', private: true, dependencies }));
    const [program, ...args] = npm(folder, ['install', '--package-lock-only']);
    await runProgram(program, args, { cwd: folder, env: ENV, signal });
    await removeTree(join(folder, '.cache'));
  });
}

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'project');
}

export const npmCi: Scenario = {
  name: 'npm-ci',
  group: 'work',
  what: `npm ci --offline of ${PACKAGES} packages with ${FILES} files each from archives in the project (most of the time is npm's own)`,
  meaning: 'each build of a JavaScript project in CI',
  durability: 'in memory only; on disk after some seconds',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_PEERS,
  changesRoot: true,
  setUp: async (root, context) => {
    await runProgram('cp', ['-a', await project(context), placeOf(root)], { signal: context.signal });
  },
  prepare: async (root) => {
    for (const made of ['node_modules', '.cache']) await removeTree(join(placeOf(root), made));
  },
  run: (root, { driver, signal }) => driver.run(['run', ...npm(placeOf(root), ['ci'])], signal, { cwd: placeOf(root), env: ENV }),
};
