import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GOLDEN } from '../../golden/trees/hierarchies.js';
import { Surgery } from '../../golden/trees/image-surgery.js';
import { REFUSED } from '../../golden/trees/refused-images.js';
import { dumpTree } from '../../../src/store/tree-dump.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { verifyTree } from '../../../src/store/tree-verify.js';

/*
 * The golden images are kept in git, so that a change of the writer shows. TEMPLATEFS_WRITE_GOLDEN=1 writes them anew:
 * do that only with a new version number in the format.
 */
const FOLDER = join(import.meta.dirname, '../../golden/trees');
const REFUSED_FOLDER = join(FOLDER, 'refused');

function dump(file: string): string {
  const tree = TreeReader.open(file);
  try {
    return [...dumpTree(tree)].map((line) => `${line}\n`).join('');
  } finally {
    tree.close();
  }
}

if (process.env['TEMPLATEFS_WRITE_GOLDEN'] === '1') {
  rmSync(REFUSED_FOLDER, { recursive: true, force: true });
  mkdirSync(REFUSED_FOLDER);
  for (const [name, make] of Object.entries(GOLDEN)) {
    const file = join(FOLDER, `${name}.tree`);
    writeFileSync(file, new Surgery(make()).bytes);
    writeFileSync(join(FOLDER, `${name}.dump`), dump(file));
  }
  for (const [name, { make }] of Object.entries(REFUSED)) writeFileSync(join(REFUSED_FOLDER, `${name}.tree`), make());
  writeFileSync(join(FOLDER, 'README.md'), readme());
}

function readme(): string {
  const order = ['opening', 'use', 'full'];
  const rows = Object.entries(REFUSED)
    .sort(([, a], [, b]) => order.indexOf(a.when) - order.indexOf(b.when))
    .map(([name, { when, rule }]) => `| \`${name}.tree\` | ${when === 'full' ? 'full check' : when} | ${rule} |`);
  return `# Golden tree images

\`*.tree\` are sound images of docs/formats/tree-image.md, \`*.dump\` is the dump text of each
(docs/protocols/control.md). Both readers must give exactly that text. \`hierarchies.ts\` says what they hold.

\`refused/*.tree\` are images that each break one rule; \`refused-images.ts\` makes them. *opening*: opening fails.
*use*: opening works, and a whole dump fails (as does any look-up that meets what is broken). *full check*: a reader
may follow it, only the full check must refuse it.

Write all of them anew with \`TEMPLATEFS_WRITE_GOLDEN=1 npx vitest run test/unit/store/golden-trees.test.ts\`.

| image | refused | broken rule |
|---|---|---|
${rows.join('\n')}
`;
}

describe('golden tree images', () => {
  it.each(Object.entries(GOLDEN))('%s: the writer gives the same bytes as ever', (name, make) => {
    expect(new Surgery(make()).bytes.equals(readFileSync(join(FOLDER, `${name}.tree`)))).toBe(true);
  });

  it.each(Object.keys(GOLDEN))('%s: the reader gives the dump', (name) => {
    expect(dump(join(FOLDER, `${name}.tree`))).toBe(readFileSync(join(FOLDER, `${name}.dump`), 'utf8'));
  });

  it.each(Object.keys(GOLDEN))('%s passes the full check', (name) => {
    verifyTree(join(FOLDER, `${name}.tree`));
  });

  it('every image in the folder is one that is tested', () => {
    const known = Object.keys(REFUSED).map((name) => `${name}.tree`);
    expect(readdirSync(REFUSED_FOLDER).sort()).toEqual(known.sort());
  });
});

describe('images that must be refused', () => {
  it.each(Object.entries(REFUSED))('%s', (name, { when, make }) => {
    const file = join(REFUSED_FOLDER, `${name}.tree`);
    expect(existsSync(file) && make().equals(readFileSync(file)), 'the stored image is the one that the rule makes').toBe(true);
    const refused = expect.objectContaining({ code: 'BAD_TREE', message: expect.stringContaining(file) as string }) as Error;
    if (when === 'opening') {
      expect(() => TreeReader.open(file)).toThrow(refused);
    } else {
      TreeReader.open(file).close();
    }
    if (when === 'use') expect(() => dump(file)).toThrow(refused);
    if (when === 'full') dump(file);
    expect(() => {
      verifyTree(file);
    }).toThrow(refused);
  });
});
