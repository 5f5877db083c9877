import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WORK_FOLDER } from '../inputs/all.js';
import { removeTree } from '../runner/remove-tree.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_PEERS, USED, type RunContext, type Scenario } from './scenario.js';

/** No settings of this machine, and no doubts about who owns a repository. */
const ENV = { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' };

/** A repository with one commit of all that is in /usr/share and /usr/include of the root: some thousand files. */
function repository({ input, signal }: RunContext): Promise<string> {
  return input.prepared('git', async (folder) => {
    const tree = join(folder, 'tree');
    const bare = join(folder, 'bare');
    const git = (...args: string[]): Promise<string> => runProgram('git', args, { env: ENV, signal });
    await mkdir(tree);
    await runProgram('sh', ['-ec', 'for one in share include; do if [ -d "$1/usr/$one" ]; then cp -a "$1/usr/$one" "$2/"; fi; done', 'sh', await input.unpacked(), tree], { signal });
    await git('init', '-q', tree);
    await git('-C', tree, 'add', '-A');
    await git('-C', tree, '-c', 'user.name=bench', '-c', 'user.email=bench@localhost', 'commit', '-q', '-m', 'all');
    await git('clone', '-q', '--bare', tree, bare);
    await removeTree(tree);
  }).then((folder) => join(folder, 'bare'));
}

export const git: Scenario = {
  name: 'git',
  group: 'work',
  what: 'git clone of a repository on the volume with the files of /usr/share and /usr/include; git status in it, with nothing changed',
  meaning: 'a developer\'s or a build\'s first step; what an editor and a prompt do all the time',
  durability: 'as git does by default: the pack is fsynced, the files are not',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_PEERS,
  changesRoot: true,
  prepare: async (_root, context) => {
    await repository(context);
  },
  run: async (root, context) => {
    const { driver, signal } = context;
    const place = join(root.path, WORK_FOLDER, 'clone');
    await removeTree(place);
    // With a copy of the pack: a hard link would leave out half of the work.
    const cloned = await driver.run(['run', 'git', 'clone', '-q', '--no-hardlinks', await repository(context), place], signal, { env: ENV });
    // An index as young as its files is not trusted; the first status a second later writes it again.
    await sleep(1100);
    const status = ['run', 'git', '-C', place, 'status', '--porcelain'];
    for (let untimed = 0; untimed < 2; untimed++) await driver.run(status, signal, { env: ENV });
    return new Map([['clone', cloned], ['status', await driver.run(status, signal, { env: ENV })]]);
  },
};
