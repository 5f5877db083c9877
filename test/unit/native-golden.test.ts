// Needs: the engine built (npm run build). The native tree reader must agree with the golden files that the TypeScript
// reader is tested against. The sanitized engine is used where it has been built too.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..', '..');
const TREES = join(ROOT, 'test', 'golden', 'trees');
const REFUSED = join(TREES, 'refused');
const ENGINES = ['templatefs-engine', 'templatefs-engine-asan']
  .map((name) => join(ROOT, 'build', 'Release', name))
  .filter((file, index) => index === 0 || existsSync(file));

const EXIT_INTEGRITY = 12;

function treesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.tree'))
    .sort();
}

function dump(engine: string, image: string): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(engine, ['dump', image], { encoding: 'latin1', maxBuffer: 1 << 28 });
  return { status, stdout, stderr };
}

/** Which images the README says are refused when: `opening`, `use` or `full check`. */
function refusalsByImage(): Map<string, string> {
  const rows = readFileSync(join(TREES, 'README.md'), 'utf8').matchAll(/^\| `([^`]+\.tree)` \| ([a-z ]+?) \|/gm);
  return new Map(Array.from(rows, ([, image = '', when = '']) => [image, when]));
}

describe.each(ENGINES)('%s', (engine) => {
  it.each(treesIn(TREES))('dumps %s like the golden text', (name) => {
    const { status, stdout, stderr } = dump(engine, join(TREES, name));
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toBe(readFileSync(join(TREES, name.replace(/\.tree$/, '.dump')), 'latin1'));
  });

  const refusals = refusalsByImage();
  it.each(treesIn(REFUSED))('refuses %s', (name) => {
    const { status, stderr } = dump(engine, join(REFUSED, name));
    // Only `verify` owes a refusal of the rest, but a reader may give one.
    if (refusals.get(name) === 'full check' && status === 0) return;
    expect(status).toBe(EXIT_INTEGRITY);
    expect(stderr).toMatch(/^templatefs-engine: BAD_TREE: .*\n$/);
    expect(stderr).toContain(name);
  });

  it('knows every refused image', () => {
    expect([...refusals.keys()].sort()).toEqual(treesIn(REFUSED));
    expect([...new Set(refusals.values())].sort()).toEqual(['full check', 'opening', 'use']);
  });

  it('says what is wrong with an image that is not there, and with the usage', () => {
    expect(dump(engine, join(TREES, 'none.tree'))).toMatchObject({ status: 1, stdout: '' });
    expect(spawnSync(engine, ['dump']).status).toBe(2);
  });
});
