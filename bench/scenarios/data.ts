import { join } from 'node:path';
import { DATA_FILE, WORK_FOLDER } from '../inputs/all.js';
import { COLD, USED, WARMED, type Scenario, type Variant } from './scenario.js';

const NOTHING_WRITTEN = 'nothing is written';
const NOT_YET = 'in the page cache only; on disk after some seconds';
const KIB = 1024;

interface Micro {
  readonly name: string;
  readonly what: string;
  readonly meaning: string;
  readonly per: string;
  readonly variants?: readonly Variant[];
  readonly durability?: string;
  /** Arguments of the driver. `file`: 300 MiB of the template; `folder`: where one may write. */
  readonly verb: (options: { readonly file: string; readonly folder: string; readonly variant: string; readonly quick: boolean }) => readonly string[];
}

/** One loop of the driver each, over a large file of the template in /usr, or over a new private file. */
const MICROS: readonly Micro[] = [
  {
    name: 'read-128k',
    what: 'a file of 300 MiB of the template is read from start to end in pieces of 128 KiB',
    meaning: 'cp, cat, loading a large library or a model',
    per: 'reads',
    variants: [COLD, WARMED],
    verb: ({ file, variant }) => ['read', file, String(128 * KIB), variant],
  },
  {
    name: 'read-4k',
    what: 'the same in pieces of 4 KiB',
    meaning: 'programs with small buffers: stdio, shells, scripts',
    per: 'reads',
    variants: [WARMED],
    verb: ({ file, variant }) => ['read', file, String(4 * KIB), variant],
  },
  {
    name: 'read-random-4k',
    what: '4 KiB at random places of the 300 MiB, all in memory',
    meaning: 'databases, indexes, package lists',
    per: 'reads',
    variants: [WARMED],
    verb: ({ file, quick }) => ['read-random', file, String(4 * KIB), quick ? '20000' : '50000'],
  },
  {
    name: 'map',
    what: 'the 300 MiB, all in memory, are mapped and one byte of each page is read: the page faults (overlayfs gets no huge pages)',
    meaning: 'how programs and libraries are loaded',
    per: 'pages',
    variants: [WARMED],
    verb: ({ file }) => ['map', file],
  },
  {
    name: 'overwrite',
    what: 'a private file of 64 MiB is written over in pieces of 128 KiB',
    meaning: 'saving documents, virtual disks, caches',
    per: 'writes',
    durability: NOT_YET,
    verb: ({ folder }) => ['overwrite', folder, String(64 * KIB * KIB), String(128 * KIB)],
  },
  {
    name: 'append',
    what: 'lines of 256 bytes are appended to a new file, one write(2) each',
    meaning: 'logs of services',
    per: 'writes',
    durability: NOT_YET,
    verb: ({ folder, quick }) => ['append', folder, quick ? '5000' : '20000'],
  },
  {
    name: 'fsync',
    what: '4 KiB are appended to a private file and fsynced, again and again',
    meaning: 'journals of databases, mail queues',
    per: 'writes',
    durability: 'each write is on disk when its fsync returns',
    verb: ({ folder, quick }) => ['fsync', folder, quick ? '20' : '100'],
  },
];

export const DATA: readonly Scenario[] = MICROS.map(({ verb, variants = [USED], durability = NOTHING_WRITTEN, ...micro }) => ({
  ...micro,
  group: 'data',
  durability,
  variants,
  input: 'data',
  run: (root, { driver, variant, quick, signal }) =>
    driver.run(verb({ file: join(root.path, DATA_FILE), folder: join(root.path, WORK_FOLDER), variant: variant.name, quick }), signal),
}));
