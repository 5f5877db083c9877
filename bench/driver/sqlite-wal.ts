import { join } from 'node:path';
import Database from 'better-sqlite3';

/*
 * node sqlite-wal.js FOLDER COUNT: COUNT transactions on a database in WAL mode, each an insert and an update; prints a sample as the
 * driver does.
 */
const [folder = '.', count = '1000'] = process.argv.slice(2);
const database = new Database(join(folder, 'bench.sqlite'));
database.pragma('journal_mode = WAL');
database.pragma('synchronous = NORMAL');
database.exec('CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT, seen INTEGER NOT NULL DEFAULT 0)');
const insert = database.prepare('INSERT INTO item (name) VALUES (?)');
const update = database.prepare('UPDATE item SET seen = seen + 1 WHERE id = ?');
const transaction = database.transaction((at: number) => {
  const { lastInsertRowid } = insert.run(`item ${at} ${'x'.repeat(100)}`);
  update.run((Number(lastInsertRowid) * 7919) % (at + 1));
});
const transactions = Number(count);
const start = process.hrtime.bigint();
for (let at = 0; at < transactions; at++) transaction(at);
database.pragma('wal_checkpoint(TRUNCATE)');
const ns = process.hrtime.bigint() - start;
database.close();
process.stdout.write(`{"ns":${ns},"transactions":${transactions}}\n`);
