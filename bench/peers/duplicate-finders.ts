import { runProgram } from '../runner/run-program.js';
import type { Peer } from './peer.js';

/** Commands that work below a folder. `state` is a file that they may keep for the next run; a script, if they make one. */
type Commands = (folder: string, state: string) => readonly (readonly string[])[];

/** What finds equal files in folders and makes one of them, for the scenarios of merging only. */
interface Finder extends Peer {
  readonly merge: Commands;
  /** Only finds them. */
  readonly search: Commands;
}

interface FinderOptions extends Pick<Finder, 'name' | 'what' | 'merge' | 'search'> {
  readonly program?: string;
}

function finder({ name, what, merge, search, program = name }: FinderOptions): Finder {
  return {
    name,
    what,
    merge,
    search,
    abilities: ['xattrs', 'owners'],
    onlyWhereNamed: true,
    async unusable() {
      try {
        await runProgram('sh', ['-c', `command -v ${program}`]);
        return undefined;
      } catch {
        return `${program} is not installed`;
      }
    },
    // It has no root: it works on folders that the scenario makes.
    makeRoot: async (input) => {
      const none = (): Promise<void> => Promise.resolve();
      return { path: await input.unpacked(), mount: none, unmount: none, reset: none, discard: none, mode: () => Promise.resolve({ caching: 'that of the host', durability: 'none: it syncs nothing' }) };
    },
  };
}

/** What a program lists is not read. */
const QUIETLY = (...command: readonly string[]): readonly string[] => ['sh', '-c', '"$@" > /dev/null', 'sh', ...command];

export const FINDERS: readonly Finder[] = [
  finder({
    name: 'jdupes',
    what: 'jdupes -B: files of one size and hash, compared byte by byte; equal ones share blocks (FIDEDUPERANGE)',
    merge: (folder) => [['jdupes', '-r', '-q', '-B', folder]],
    search: (folder) => [QUIETLY('jdupes', '-r', '-q', folder)],
  }),
  finder({
    name: 'jdupes-links',
    program: 'jdupes',
    what: 'jdupes -L: the same, and equal files become one by hard links: what one writes, all have; owner and times are one for all',
    merge: (folder) => [['jdupes', '-r', '-q', '-L', folder]],
    search: (folder) => [QUIETLY('jdupes', '-r', '-q', folder)],
  }),
  finder({
    name: 'rmlint',
    what: 'rmlint: hashes of growing parts of files of one size; its script then clones them, file by file',
    merge: (folder, state) => [
      ['rmlint', '-T', 'df', '-o', `sh:${state}`, '-c', 'sh:clone', folder],
      ['sh', state, '-d', '-q', '-x'],
    ],
    search: (folder, state) => [['rmlint', '-T', 'df', '-o', `json:${state}`, folder]],
  }),
  finder({
    name: 'duperemove',
    what: 'duperemove -d -b 4096: hashes of blocks (of 4 KiB, as with its usual 128 KiB it finds no small files), kept in a file for the next run',
    // Its status is 22 when there is nothing to do.
    merge: (folder, state) => [['sh', '-c', 'duperemove -r -d -q -b 4096 "--hashfile=$1" "$2" > /dev/null || [ $? = 22 ]', 'sh', state, folder]],
    search: (folder, state) => [['sh', '-c', 'duperemove -r -q -b 4096 "--hashfile=$1" "$2" > /dev/null || [ $? = 22 ]', 'sh', state, folder]],
  }),
];
