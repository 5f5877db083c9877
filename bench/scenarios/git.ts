import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_PEERS, USED, WARM, type RunContext, type Scenario } from './scenario.js';

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
    await rm(tree, { recursive: true });
  }).then((folder) => join(folder, 'bare'));
}

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'clone');
}

/** With a copy of the pack: a hard link would leave out half of the work. */
async function cloneArguments(root: PeerRoot, context: RunContext): Promise<string[]> {
  return ['clone', '-q', '--no-hardlinks', await repository(context), placeOf(root)];
}

export const gitClone: Scenario = {
  name: 'git-clone',
  group: 'work',
  what: 'git clone of a repository on the volume with the files of /usr/share and /usr/include',
  meaning: 'a developer\'s or a build\'s first step',
  durability: 'as git does by default: the pack is fsynced, the files are not',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_PEERS,
  changesRoot: true,
  prepare: async (root, context) => {
    await rm(placeOf(root), { recursive: true, force: true });
    await repository(context);
  },
  run: async (root, context) => context.driver.run(['run', 'git', ...(await cloneArguments(root, context))], context.signal, { env: ENV }),
};

export const gitStatus: Scenario = {
  name: 'git-status',
  group: 'work',
  what: 'git status in that clone, with nothing changed',
  meaning: 'what an editor and a prompt do all the time',
  durability: 'nothing is written',
  variants: [WARM],
  input: 'debian',
  weight: 'medium',
  without: SLOW_PEERS,
  changesRoot: true,
  setUp: async (root, context) => {
    await runProgram('git', await cloneArguments(root, context), { env: ENV, signal: context.signal });
    // An index as young as its files is not trusted; the first status a second later writes it again.
    await runProgram('sleep', ['1.1'], { signal: context.signal });
    await runProgram('git', ['-C', placeOf(root), 'status', '--porcelain'], { env: ENV, signal: context.signal });
  },
  run: (root, { driver, signal }) => driver.run(['run', 'git', '-C', placeOf(root), 'status', '--porcelain'], signal, { env: ENV }),
};
