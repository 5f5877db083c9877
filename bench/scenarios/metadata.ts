import { join } from 'node:path';
import { WIDE_FOLDER, WORK_FOLDER } from '../inputs/all.js';
import type { Ability } from '../peers/peer.js';
import type { InputName } from '../inputs/all.js';
import { COLD, USED, WARMED, type Scenario, type Variant } from './scenario.js';

const NOTHING_WRITTEN = 'nothing is written';
const NOT_YET = 'in memory only; on disk after some seconds';

interface Micro {
  readonly name: string;
  readonly what: string;
  readonly meaning: string;
  readonly per: string;
  readonly variants: readonly Variant[];
  readonly durability?: string;
  readonly input?: InputName;
  readonly needs?: readonly Ability[];
  /** Arguments of the driver. `files`, `links`: lists of paths; `folder`: where one may write; `count`: how many new files. */
  readonly verb: (options: { readonly root: string; readonly files: string; readonly links: string; readonly folder: string; readonly count: string; readonly variant: string }) => readonly string[];
}

/** One loop of the driver each, over some thousand files of /usr of a Debian root, or over new files of 4 KiB. */
const MICROS: readonly Micro[] = [
  {
    name: 'stat',
    what: 'lstat(2) of files of /usr by whole path',
    meaning: 'make, git status, each look for a library or a module',
    per: 'files',
    variants: [COLD, WARMED],
    verb: ({ root, files, variant }) => ['stat', root, files, variant],
  },
  {
    name: 'stat-missing',
    what: 'lstat(2) of names that do not exist, asked for a second time',
    meaning: 'looking for a program in PATH, for a header in include folders, for a module',
    per: 'files',
    variants: [WARMED],
    verb: ({ root, files }) => ['stat-missing', root, files],
  },
  {
    name: 'open-close',
    what: 'open(2) for reading and close(2) of files of /usr',
    meaning: 'whatever reads many small files: compilers, interpreters, grep',
    per: 'files',
    variants: [WARMED],
    verb: ({ root, files }) => ['open-close', root, files],
  },
  {
    name: 'readlink',
    what: 'readlink(2) of the symlinks of /usr',
    meaning: 'libraries and alternatives are symlinks; realpath asks for each',
    per: 'links',
    variants: [WARMED],
    verb: ({ root, links }) => ['readlink', root, links],
  },
  {
    name: 'getxattr',
    what: 'lgetxattr(2) of security.capability, which files mostly do not have',
    meaning: 'ls -l, cp -a, backups; the kernel itself at each exec',
    per: 'files',
    variants: [WARMED],
    verb: ({ root, files }) => ['getxattr', root, files],
    needs: ['xattrs'],
  },
  {
    name: 'list-100k',
    what: 'a folder of the template with 100,000 entries is listed (getdents(2))',
    meaning: 'mail folders, caches, spools',
    per: 'entries',
    variants: [COLD, WARMED],
    input: 'wide',
    verb: ({ root, variant }) => ['list', join(root, WIDE_FOLDER), variant],
  },
  {
    name: 'create',
    what: 'new files: create, write 4 KiB, close',
    meaning: 'unpacking archives, git checkout, compilers',
    per: 'files',
    variants: [USED],
    durability: NOT_YET,
    verb: ({ folder, count }) => ['create', folder, count],
  },
  {
    name: 'rename',
    what: 'rename(2) of private files in their folder',
    meaning: 'saving a file safely, logrotate, mail',
    per: 'files',
    variants: [USED],
    durability: NOT_YET,
    verb: ({ folder, count }) => ['rename', folder, count],
  },
  {
    name: 'unlink',
    what: 'unlink(2) of private files of 4 KiB',
    meaning: 'cleaning up: make clean, caches, temporary files',
    per: 'files',
    variants: [USED],
    durability: NOT_YET,
    verb: ({ folder, count }) => ['unlink', folder, count],
  },
  {
    name: 'setxattr',
    what: 'lsetxattr(2) of a small user xattr on private files',
    meaning: 'rsync -X, cp -a, file indexers',
    per: 'files',
    variants: [USED],
    durability: NOT_YET,
    needs: ['xattrs'],
    verb: ({ folder, count }) => ['setxattr', folder, count],
  },
];

export const METADATA: readonly Scenario[] = MICROS.map(({ verb, durability = NOTHING_WRITTEN, input: inputName = 'debian', ...micro }) => ({
  ...micro,
  group: 'metadata',
  durability,
  input: inputName,
  run: async (root, { driver, input, variant, quick, signal }) => {
    const list = (name: string, ...findArguments: string[]): Promise<string> =>
      inputName === 'debian' ? input.list(name, quick ? 1000 : 4000, ['-path', '*/usr/*', ...findArguments]) : Promise.resolve('');
    const options = {
      root: root.path,
      files: await list('files', '-type', 'f'),
      links: await list('links', '-type', 'l'),
      folder: join(root.path, WORK_FOLDER),
      count: quick ? '500' : '1000',
      variant: variant.name,
    };
    return driver.run(verb(options), signal);
  },
}));
