import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { CATALOG_VERSION, MIGRATIONS } from '../../../src/catalog/migrations.js';
import { DIGEST, temporaryStore } from './temporary-store.js';

/** The tables, indexes and columns of a catalog, as SQL. */
function schemaOf(path: string): string[] {
  const database = new Database(path, { readonly: true });
  try {
    return database
      .prepare<[], { sql: string }>('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name')
      .all()
      .map(({ sql }) => sql);
  } finally {
    database.close();
  }
}

describe('migrations', () => {
  test('make the same schema from every older version, and keep what is there', () => {
    const fresh = temporaryStore();
    Catalog.open(fresh, 'write').close();
    for (let version = 1; version < MIGRATIONS.length; version++) {
      const paths = temporaryStore();
      const old = new Database(paths.catalog);
      for (const step of MIGRATIONS.slice(0, version)) old.exec(step);
      old.pragma(`user_version = ${version}`);
      old.prepare('INSERT INTO templates VALUES (?, 1, ?, 2, 3, ?, ?, NULL)').run('t', DIGEST, '2026-01-01', 'folder');
      old.close();

      const catalog = Catalog.open(paths, 'write');
      expect(catalog.template('t')).toMatchObject({ name: 't', version: 1, tree: DIGEST, files: 2, bytes: 3 });
      catalog.close();
      expect(schemaOf(paths.catalog)).toEqual(schemaOf(fresh.catalog));
    }
  });

  test('a newer catalog is refused and left alone', () => {
    const paths = temporaryStore();
    const newer = new Database(paths.catalog);
    newer.pragma(`user_version = ${CATALOG_VERSION + 1}`);
    newer.close();
    for (const mode of ['read', 'write'] as const) {
      expect(() => Catalog.open(paths, mode)).toThrow(expect.objectContaining({ code: 'BAD_CATALOG', message: expect.stringMatching(/has version/) as string }));
    }
    const after = new Database(paths.catalog);
    expect(after.pragma('user_version', { simple: true })).toBe(CATALOG_VERSION + 1);
    after.close();
  });

  test('a step that fails leaves the old version', () => {
    const paths = temporaryStore();
    const old = new Database(paths.catalog);
    old.exec(MIGRATIONS[0] ?? '');
    old.exec('CREATE TABLE counters (in_the_way TEXT)');
    old.pragma('user_version = 1');
    old.close();
    expect(() => Catalog.open(paths, 'write')).toThrow(expect.objectContaining({ code: 'BAD_CATALOG' }));
    const after = new Database(paths.catalog);
    expect(after.pragma('user_version', { simple: true })).toBe(1);
    after.close();
  });
});
