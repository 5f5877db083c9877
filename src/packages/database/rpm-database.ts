import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { makeTemporaryFolder } from '../../store/temporary-folder.js';
import type { InstalledPackage } from '../package-manager.js';
import { DatabaseUnreadable, type DatabaseFiles, type PackageDatabase } from './package-database.js';
import { RpmHeader } from './rpm-header.js';

const FOLDERS = ['/usr/lib/sysimage/rpm', '/var/lib/rpm'];
const MOST_BYTES = 1 << 30;
const MOST_PACKAGES = 100_000;
const MOST_HEADER_BYTES = 64 << 20;

/** rpm's database in SQLite. The older forms (Berkeley DB, ndb) only rpm itself can read. */
export function openRpmDatabase(files: DatabaseFiles): PackageDatabase | undefined {
  for (const folder of FOLDERS) {
    const main = files.read(`${folder}/rpmdb.sqlite`, MOST_BYTES);
    if (main !== undefined) return readDatabase(main, files.read(`${folder}/rpmdb.sqlite-wal`, MOST_BYTES));
    if (files.names(folder).some((name) => /^Packages(\.db)?$/.test(name))) throw new DatabaseUnreadable('it is no SQLite database');
  }
  return undefined;
}

function readDatabase(main: Buffer, log: Buffer | undefined): PackageDatabase {
  const headers = readHeaders(main, log);
  const byPackage = new Map<InstalledPackage, RpmHeader>();
  for (const header of headers) {
    const found = header.package();
    if (found !== undefined) byPackage.set(found, header);
  }
  return { rules: 'rpm', packages: [...byPackage.keys()], filesOf: (installed) => byPackage.get(installed)?.files() ?? [] };
}

/** A copy is read: SQLite takes its log into account, and locks and changes nothing of the container. */
function readHeaders(main: Buffer, log: Buffer | undefined): RpmHeader[] {
  const folder = makeTemporaryFolder('rpmdb');
  try {
    const copy = join(folder, 'rpmdb.sqlite');
    writeFileSync(copy, main, { mode: 0o600 });
    if (log !== undefined) writeFileSync(`${copy}-wal`, log, { mode: 0o600 });
    const database = new Database(copy);
    try {
      // It is a container's: nothing that stands in its schema may do anything.
      database.pragma('trusted_schema = OFF');
      database.pragma('cell_size_check = ON');
      const table = database.prepare<[], { type: string; sql: string }>("SELECT type, sql FROM sqlite_schema WHERE name = 'Packages'").get();
      if (table?.type !== 'table' || /^\s*CREATE\s+VIRTUAL/i.test(table.sql)) throw new DatabaseUnreadable('it has no table of packages');
      const rows = database.prepare<[number, number], { blob: unknown }>('SELECT blob FROM Packages WHERE length(blob) < ? LIMIT ?').iterate(MOST_HEADER_BYTES, MOST_PACKAGES);
      const headers: RpmHeader[] = [];
      for (const { blob } of rows) {
        const header = Buffer.isBuffer(blob) ? RpmHeader.parse(blob) : undefined;
        if (header !== undefined) headers.push(header);
      }
      return headers;
    } finally {
      database.close();
    }
  } catch (error) {
    if (error instanceof DatabaseUnreadable || !(error instanceof Database.SqliteError)) throw error;
    throw new DatabaseUnreadable(`SQLite cannot read it: ${error.message}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
