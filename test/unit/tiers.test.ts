// The folder tree is the architecture (docs/architecture.md). ESLint watches over src/; this file watches over native/,
// whose includes no linter reads, and over the page itself.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Lowest first; folders of one tier do not include one another. */
const NATIVE_TIERS = [['base'], ['wire', 'tree'], ['private'], ['inode'], ['ops'], ['session', 'control'], ['tools', 'mount'], ['enter']];
/** They include everything and are in no released program. */
const ABOVE_ALL = ['testing', 'fuzz'];
/** session starts the control server's thread, which answers from what session holds. */
const ALLOWED_BETWEEN = new Set(['session -> control']);
const tierOf = (folder: string): number => NATIVE_TIERS.findIndex((tier) => tier.includes(folder));

function foldersIn(path: string): string[] {
  return readdirSync(join(ROOT, path), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && readdirSync(join(ROOT, path, entry.name)).length > 0)
    .map((entry) => entry.name)
    .sort();
}

interface Include {
  readonly from: string;
  readonly file: string;
  readonly to: string;
}

function nativeIncludes(): Include[] {
  return foldersIn('native').flatMap((from) =>
    readdirSync(join(ROOT, 'native', from), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.(cc|h)$/.test(file))
      .flatMap((file) =>
        [...readFileSync(join(ROOT, 'native', from, file), 'utf8').matchAll(/^\s*#\s*include\s+"([^"/]+)\//gm)].map((match) => ({
          from,
          file: join('native', from, file),
          to: match[1] ?? '',
        })),
      ),
  );
}

describe('native/', () => {
  it('has no folder that is in no tier', () => {
    expect(foldersIn('native').filter((folder) => !ABOVE_ALL.includes(folder) && tierOf(folder) < 0)).toEqual([]);
  });

  it('includes only downwards', () => {
    const wrong = nativeIncludes()
      .filter(({ from, to, file }) => {
        if (from === to || ABOVE_ALL.includes(from)) return false;
        if (ABOVE_ALL.includes(to)) return !file.endsWith('_test.cc');
        if (ALLOWED_BETWEEN.has(`${from} -> ${to}`)) return false;
        return tierOf(to) < 0 || tierOf(to) >= tierOf(from);
      })
      .map(({ file, to }) => `${file} includes ${to}/`);
    expect(wrong).toEqual([]);
  });

  it('is read at all by this test', () => {
    expect(nativeIncludes().length).toBeGreaterThan(10);
  });
});

describe('docs/architecture.md', () => {
  const page = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
  /** The rows of the folder maps: | `src/core/` | … */
  const named = [...page.matchAll(/^\| `((?:src|native)\/[a-z0-9-]+)\/` \|/gm)].map((match) => match[1] ?? '').sort();

  it('names each folder that there is, once, and no other', () => {
    const there = [...foldersIn('src').map((name) => `src/${name}`), ...foldersIn('native').map((name) => `native/${name}`)].sort();
    expect(named).toEqual(there);
  });

  it('names only files and folders that exist', () => {
    const paths = [...page.matchAll(/`((?:src|native|docs|scripts|templates|test|bench|bin)\/[A-Za-z0-9_./-]*)`/g)].map((match) => match[1] ?? '');
    expect(paths.length).toBeGreaterThan(20);
    const missing = paths.filter((path) => {
      try {
        readFileSync(join(ROOT, path));
        return false;
      } catch (error) {
        return !(error instanceof Error && 'code' in error && error.code === 'EISDIR');
      }
    });
    expect(missing).toEqual([]);
  });
});
