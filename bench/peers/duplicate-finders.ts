import { runProgram } from '../runner/run-program.js';
import type { Peer } from './peer.js';

/** What finds equal files in folders and lets them share blocks (FIDEDUPERANGE), for the scenarios of merging only. */
interface Finder extends Peer {
  /** A command that does so below a folder. `state` is a file that it may keep for the next run; its script, if it makes one. */
  readonly commands: (folder: string, state: string) => readonly (readonly string[])[];
}

function finder({ name, what, commands }: Pick<Finder, 'name' | 'what' | 'commands'>): Finder {
  return {
    name,
    what,
    commands,
    abilities: ['xattrs', 'owners'],
    onlyWhereNamed: true,
    async unusable() {
      try {
        await runProgram('sh', ['-c', `command -v ${name}`]);
        return undefined;
      } catch {
        return `${name} is not installed`;
      }
    },
    // It has no root: it works on folders that the scenario makes.
    makeRoot: async (input) => {
      const none = (): Promise<void> => Promise.resolve();
      return { path: await input.unpacked(), mount: none, unmount: none, reset: none, discard: none, mode: () => Promise.resolve({ caching: 'that of the host', durability: 'none: it syncs nothing' }) };
    },
  };
}

export const FINDERS: readonly Finder[] = [
  finder({ name: 'jdupes', what: 'jdupes -B: files of one size and hash, compared byte by byte', commands: (folder) => [['jdupes', '-r', '-q', '-B', folder]] }),
  finder({
    name: 'rmlint',
    what: 'rmlint: hashes of growing parts of files of one size; its script then clones them, file by file',
    commands: (folder, state) => [
      ['rmlint', '-T', 'df', '-o', `sh:${state}`, '-c', 'sh:clone', folder],
      ['sh', state, '-d', '-q', '-x'],
    ],
  }),
  finder({
    name: 'duperemove',
    what: 'duperemove -d -b 4096: hashes of blocks (of 4 KiB, as with its usual 128 KiB it finds no small files), kept in a file for the next run',
    // Its status is 22 when there is nothing to do.
    commands: (folder, state) => [['sh', '-c', 'duperemove -r -d -q -b 4096 "--hashfile=$1" "$2" > /dev/null || [ $? = 22 ]', 'sh', state, folder]],
  }),
];
