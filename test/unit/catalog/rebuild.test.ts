import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { formatContainerFile } from '../../../src/catalog/container-file.js';
import { rebuildCatalog } from '../../../src/catalog/rebuild.js';
import type { TemplateRecord } from '../../../src/catalog/records.js';
import { formatTemplateFile, readTemplateFile } from '../../../src/catalog/template-file.js';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { DIGEST, temporaryStore } from './temporary-store.js';

const TEMPLATE: TemplateRecord = {
  name: 'debian', version: 2, tree: DIGEST, files: 1, bytes: 2, created: 'then', source: 'stdin', definition: null,
};

function addContainer(paths: StorePaths, name: string, template: string): void {
  mkdirSync(paths.privateArea(name));
  writeFileSync(paths.containerFile(name), formatContainerFile({ name, template, tree: DIGEST, created: 'later', shared: null, ids: null, other: [] }));
}

describe('rebuildCatalog', () => {
  test('finds templates and containers, keeps the old file, and names what it could not take', () => {
    const paths = temporaryStore();
    writeFileSync(paths.catalog, 'garbage');
    writeFileSync(paths.tree(DIGEST), '');
    writeFileSync(paths.templateRecord('debian'), formatTemplateFile({ ...TEMPLATE, shared: null }));
    writeFileSync(paths.templateRecord('broken'), 'nothing');
    addContainer(paths, 'c1', 'debian');
    addContainer(paths, 'c2', 'lost');
    mkdirSync(paths.privateArea('c3'));
    mkdirSync(paths.privateArea('.trash-7-c4'));

    const result = rebuildCatalog({ paths, treeSummary: () => ({ files: 5, bytes: 6 }), mountpointOf: () => null });
    expect(result.templates).toEqual(['debian', 'lost']);
    expect(result.containers).toEqual(['c1', 'c2']);
    expect(result.problems.map(({ name }) => name)).toEqual(['template broken', 'container c3']);
    expect(readFileSync(result.movedTo ?? '', 'utf8')).toBe('garbage');
    expect(readTemplateFile(paths.templateRecord('lost'))).toMatchObject({ files: 5, source: 'recovered from container c2' });

    using catalog = Catalog.open(paths, 'write');
    expect(catalog.template('debian')).toEqual(TEMPLATE);
    expect(catalog.container('c2')).toMatchObject({ template: 'lost', tree: DIGEST });
    expect(catalog.check()).toEqual([]);
  });

  test('a second broken catalog does not replace the first that was kept', () => {
    const paths = temporaryStore();
    const rebuild = (): string | null => rebuildCatalog({ paths, treeSummary: () => ({ files: 0, bytes: 0 }), mountpointOf: () => null }).movedTo;
    expect(rebuild()).toBeNull();
    const kept = new Set([rebuild(), rebuild(), rebuild()]);
    expect(kept.size).toBe(3);
  });
});
