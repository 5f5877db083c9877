import { expect, test } from 'vitest';
import { ProgramRoot, runChecked, VARIANTS, type Variant } from '../support/program-root.js';
import { PYTHON } from '../support/project.js';
import { useScratch } from '../support/scratch.js';

const LOAD = new URL('sqlite_load.py', import.meta.url).pathname;
const MINUTE = 60_000;
const MAPPED = String(64 << 20);
const scratch = useScratch();

async function load(step: string, database: string, ...options: string[]): Promise<void> {
  await runChecked(PYTHON, [LOAD, step, database, ...options], { timeoutMs: 3 * MINUTE });
}

/** A root whose template holds databases of 30 MiB; `rollback` has another journal mode than the others. */
async function mountDatabases(...names: string[]): Promise<ProgramRoot> {
  return ProgramRoot.mount(scratch, async (folder) => {
    for (const name of names) await load('make', `${folder}/${name}`, '--mode', name === 'rollback' ? 'DELETE' : 'WAL');
  });
}

test.each(VARIANTS)('SQLite, several writers and readers in each journal mode, mapped and not, $name', { timeout: 5 * MINUTE }, async (variant: Variant) => {
  const root = await mountDatabases('old');
  const old = root.path(variant.place, 'old');
  const made = root.path(variant.place, 'new');
  await root.inVariant(variant, async () => {
    await load('work', old, '--mode', 'WAL', '--transactions', '150');
    await load('make', made, '--megabytes', '4');
    for (const mode of ['DELETE', 'TRUNCATE', 'PERSIST', 'WAL']) {
      await load('work', old, '--mode', mode, '--mmap', MAPPED);
      await load('work', made, '--mode', mode);
    }
  });
  await root.expectTemplateUntouched();
  await load('check', old);
  await load('check', made);
});

test.each(VARIANTS)('SQLite, writers killed in the middle of transactions, $name', { timeout: 5 * MINUTE }, async (variant: Variant) => {
  const root = await mountDatabases('wal', 'rollback');
  await root.inVariant(variant, async () => {
    await load('crash', root.path(variant.place, 'wal'), '--mode', 'WAL', '--mmap', MAPPED);
    await load('crash', root.path(variant.place, 'rollback'), '--mode', 'DELETE');
  });
  await root.expectTemplateUntouched();
  await load('check', root.path(variant.place, 'wal'));
  await load('check', root.path(variant.place, 'rollback'));
});

test('a reader that opened a database of the template before it was changed sees what is committed later', async () => {
  const root = await mountDatabases('wal', 'rollback');
  for (const [name, mode] of [['wal', 'WAL'], ['rollback', 'DELETE']] as const) {
    const said = await runChecked(PYTHON, ['-c', READ_BEFORE_AND_AFTER, root.path('srv/work', name), mode]);
    expect(said, mode).toBe('1000\n4\n3\n');
  }
  await root.expectTemplateUntouched();
});

/** The first connection cannot write, and so has the file of the template open while the second changes it. */
const READ_BEFORE_AND_AFTER = `
import sqlite3, sys
before = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True, isolation_level=None)
print(before.execute('SELECT money FROM account WHERE id = 3').fetchone()[0])
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.execute('PRAGMA journal_mode = ' + sys.argv[2])
writer.execute('UPDATE account SET money = 4 WHERE id = 3')
print(before.execute('SELECT money FROM account WHERE id = 3').fetchone()[0])
writer.execute('UPDATE account SET money = 3 WHERE id = 3')
writer.close()
print(before.execute('SELECT money FROM account WHERE id = 3').fetchone()[0])
`;
