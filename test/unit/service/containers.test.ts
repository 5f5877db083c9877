import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { readContainerFile } from '../../../src/catalog/container-file.js';
import { acquireLock } from '../../../src/catalog/lock.js';
import { bootId, ownIdentity } from '../../../src/catalog/process-identity.js';
import type { JournalOperation } from '../../../src/catalog/records.js';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { formatTemplateFile, readTemplateFile } from '../../../src/catalog/template-file.js';
import { checkCatalog } from '../../../src/service/check-catalog.js';
import { containerInfo } from '../../../src/service/container-info.js';
import { createContainer } from '../../../src/service/create-container.js';
import { destroyContainer } from '../../../src/service/destroy-container.js';
import { listContainers } from '../../../src/service/list-containers.js';
import { mountContainer } from '../../../src/service/mount-container.js';
import { rebuildCatalog } from '../../../src/service/rebuild-catalog.js';
import { umountContainer } from '../../../src/service/umount-container.js';
import { removeTemplate } from '../../../src/service/remove-template.js';
import { scriptEngine } from '../engine/script-engine.js';
import { addExample, storeWithTemplate } from './store-with-template.js';
import Database from 'better-sqlite3';

// Changing a store takes root, in tests too.
const asRoot = describe.skipIf(process.geteuid?.() !== 0);
if (process.geteuid?.() !== 0) console.warn('skipped: tests of services need root');

/** What a command that was killed left: a journal entry of a process that is gone. */
function leaveJournal(paths: StorePaths, operation: JournalOperation, subject: string): number {
  const database = new Database(paths.catalog);
  const id = database
    .prepare('INSERT INTO journal (operation, subject, pid, pid_start, boot, started) VALUES (?, ?, 999999999, ?, ?, ?)')
    .run(operation, subject, '1', bootId(), 'then').lastInsertRowid;
  database.close();
  return Number(id);
}

function journalOf(paths: StorePaths): unknown[] {
  using catalog = Catalog.open(paths, 'read');
  return catalog.journal();
}

asRoot('create and destroy', () => {
  test('make and remove everything', async () => {
    const { paths, context } = await storeWithTemplate();
    const created = await createContainer(context, { name: 'c1', template: 't', quotaSizeBytes: 1024 });
    expect(readContainerFile(paths.containerFile('c1'))).toEqual({
      name: 'c1', template: 't', tree: created.tree, created: created.created, shared: null, ids: null, quotaSizeBytes: 1024, other: [],
    });
    expect(readdirSync(paths.privateArea('c1')).sort()).toEqual(['container', 'inodes', 'root', 'staging']);
    expect(await listContainers(context)).toEqual([{ name: 'c1', ostemplate: 't', state: 'stopped', root: null, engineVersion: null }]);
    expect(await containerInfo(context, 'c1')).toMatchObject({ state: 'stopped', privateFiles: 0, enginePid: null, quota: { sizeBytes: 1024, inodes: null, usedBytes: 0, usedInodes: 1, enforcedBy: 'engine' }, stale: null });

    expect(await destroyContainer(context, { name: 'c1', dryRun: true })).toMatchObject({ destroyed: false });
    expect(await destroyContainer(context, { name: 'c1' })).toMatchObject({ destroyed: true });
    expect(readdirSync(paths.privateAreas)).toEqual([]);
    expect(await listContainers(context)).toEqual([]);
    expect(journalOf(paths)).toEqual([]);
    expect(readdirSync(paths.locks).filter((name) => name.includes('c1'))).toEqual([]);
  });

  test('remove names that are not UTF-8', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    writeFileSync(Buffer.concat([Buffer.from(join(paths.privateArea('c1'), 'root') + '/'), Buffer.from([0xff, 0x0a, 0xfe])]), 'x');
    await destroyContainer(context, { name: 'c1' });
    expect(readdirSync(paths.privateAreas)).toEqual([]);
  });

  test.each([
    ['an unknown template', { name: 'c2', template: 'none' }, 'TEMPLATE_NOT_FOUND'],
    ['a name that is taken', { name: 'c1', template: 't' }, 'CONTAINER_EXISTS'],
    ['a name that is a path', { name: '../x', template: 't' }, 'USAGE'],
  ])('%s is refused', async (_what, options, code) => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    await expect(createContainer(context, options)).rejects.toMatchObject({ code });
    expect(readdirSync(paths.privateAreas)).toEqual(['c1']);
    expect(journalOf(paths)).toEqual([]);
  });

  test('an unknown container is named', async () => {
    const { context } = await storeWithTemplate();
    for (const work of [
      containerInfo(context, 'none'),
      destroyContainer(context, { name: 'none' }),
      umountContainer(context, { name: '../../etc' }),
      mountContainer(context, { name: 'none' }),
    ]) {
      await expect(work).rejects.toMatchObject({ code: 'CONTAINER_NOT_FOUND' });
    }
  });

  test('a container that another command is on is busy', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const held = await acquireLock({ paths, name: 'container-c1', what: 'x', mode: 'exclusive', command: 'templatefs mount c1' });
    await expect(destroyContainer(context, { name: 'c1' })).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining('templatefs mount c1') as string });
    held.release();
    const use = await acquireLock({ paths, name: 'use-c1', what: 'x', mode: 'shared', command: 'templatefs exec c1' });
    await expect(umountContainer(context, { name: 'c1' })).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining('templatefs exec c1') as string });
    use.release();
    expect(await umountContainer(context, { name: 'c1' })).toEqual({ name: 'c1', wasMounted: false });
  });
});

asRoot('what a killed command leaves', () => {
  test('a private area that is half made is removed', async () => {
    const { paths, context } = await storeWithTemplate();
    const id = leaveJournal(paths, 'create-container', 'c1');
    mkdirSync(join(paths.privateAreas, `.new-${id}-c1`, 'root'), { recursive: true });
    await createContainer(context, { name: 'c2', template: 't' });
    expect(readdirSync(paths.privateAreas)).toEqual(['c2']);
    expect(journalOf(paths)).toEqual([]);
  });

  test('a private area that the catalog does not know yet is taken over', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const database = new Database(paths.catalog);
    database.exec("DELETE FROM containers WHERE name = 'c1'");
    database.close();
    leaveJournal(paths, 'create-container', 'c1');
    await expect(createContainer(context, { name: 'c1', template: 't' })).rejects.toMatchObject({ code: 'CONTAINER_EXISTS' });
    expect(await listContainers(context)).toHaveLength(1);
  });

  test('a private area on its way out is removed, with its row', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const id = leaveJournal(paths, 'destroy-container', 'c1');
    renameSync(paths.privateArea('c1'), join(paths.privateAreas, `.trash-${id}-c1`));
    await createContainer(context, { name: 'c1', template: 't' });
    expect(readdirSync(paths.privateAreas)).toEqual(['c1']);
  });

  test('a template whose new version the catalog does not know yet is no problem, and is taken over', async () => {
    const { paths, context } = await storeWithTemplate();
    const record = readTemplateFile(paths.templateRecord('t'));
    if (record === undefined) throw new Error('the template has no record');
    const tree = '5'.repeat(record.tree.length);
    copyFileSync(paths.tree(record.tree), paths.tree(tree));
    writeFileSync(paths.templateRecord('t'), formatTemplateFile({ ...record, version: 2, tree }));
    const problems = (): string[] => {
      using catalog = Catalog.open(paths, 'read');
      return checkCatalog(context, catalog).map(({ problem }) => problem);
    };
    expect(problems()).toEqual(['its record names another tree than the catalog']);
    leaveJournal(paths, 'add-template', 't');
    expect(problems()).toEqual([]);
    await createContainer(context, { name: 'c1', template: 't' });
    expect(journalOf(paths)).toEqual([]);
    expect(problems()).toEqual([]);
    using catalog = Catalog.open(paths, 'read');
    expect(catalog.template('t')).toMatchObject({ version: 2, tree });
  });

  test('what a live command is on is left to it', async () => {
    const { paths, context } = await storeWithTemplate();
    {
      using catalog = Catalog.open(paths, 'write');
      const id = catalog.beginJournal('create-container', 'c1');
      mkdirSync(join(paths.privateAreas, `.new-${id}-c1`));
    }
    await createContainer(context, { name: 'c2', template: 't' });
    expect(readdirSync(paths.privateAreas)).toHaveLength(2);
    expect(journalOf(paths)).toHaveLength(1);
  });

  test('a mount of a dead engine is cleared away by the next command', async () => {
    const { paths, context, notices } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    mkdirSync(paths.run('c1'));
    writeFileSync(paths.engineState('c1'), `holder 999999999\nworker 999999998\nmountpoint ${paths.root('c1')}\nboot ${bootId()}\npassthrough yes\n`);
    writeFileSync(paths.controlSocket('c1'), '');
    expect(await containerInfo(context, 'c1')).toMatchObject({ state: 'stopped', stale: expect.stringContaining('is gone') as string });
    expect(await umountContainer(context, { name: 'c1' })).toEqual({ name: 'c1', wasMounted: false });
    expect(existsSync(paths.run('c1'))).toBe(false);
    expect(notices).toHaveLength(1);
  });
});

asRoot('mount', () => {
  test('hands all that it was asked for to the engine, and believes its report', async () => {
    const { context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    scriptEngine('echo "$*" >&2; printf "mountpoint /a%%20place\\nalready no\\ncleared its engine is gone\\nuid-map 0 100000 5\\ngid-map 0 100000 5\\n"');
    const notices: string[] = [];
    const ids = { uids: [{ container: 0, host: 100000, size: 5 }], gids: [{ container: 0, host: 100000, size: 5 }] };
    const mounted = await mountContainer({ ...context, onNotice: (text) => notices.push(text) }, { name: 'c1', mountpoint: '/x', mountOptions: 'ro', ids });
    expect(mounted).toEqual({ name: 'c1', root: '/a place', already: false, ids });
    expect(notices.join()).toContain('its engine is gone');
    scriptEngine('echo "templatefs-engine: USAGE: $*" >&2; exit 2');
    await expect(mountContainer(context, { name: 'c1', mountpoint: '/x', mountOptions: 'ro', passthrough: false, ids: null })).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/--container c1 --mountpoint \/x --no-idmap --options ro --no-passthrough --locked --report$/) as string,
    });
  });

  test('passes on what the engine says, and leaves nothing', async () => {
    const { context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    scriptEngine('echo "templatefs-engine: INTEGRITY: the file inos is broken" >&2; exit 12');
    await expect(mountContainer(context, { name: 'c1' })).rejects.toMatchObject({ code: 'INTEGRITY', message: 'the file inos is broken' });
    expect((await listContainers(context))[0]?.state).toBe('stopped');
  });
});

asRoot('templates', () => {
  test('are kept while containers use them', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    await expect(removeTemplate(context, { name: 't' })).rejects.toMatchObject({ code: 'TEMPLATE_IN_USE', message: expect.stringContaining('c1') as string });
    await destroyContainer(context, { name: 'c1' });
    expect(await removeTemplate(context, { name: 't' })).toEqual({ name: 't', removed: true });
    expect(readdirSync(paths.templates)).toEqual([]);
    await expect(removeTemplate(context, { name: 't' })).rejects.toMatchObject({ code: 'TEMPLATE_NOT_FOUND' });
  });

  test('a template stays when the one who made a container on it was killed while its removal waited', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const database = new Database(paths.catalog);
    database.prepare("DELETE FROM containers WHERE name = 'c1'").run();
    const { pid, start, boot } = ownIdentity();
    database.prepare("INSERT INTO journal (operation, subject, pid, pid_start, boot, started) VALUES ('create-container', 'c1', ?, ?, ?, 'then')").run(pid, start, boot);
    const held = await acquireLock({ paths, name: 'template-t', what: 'template t', mode: 'shared' });
    const refused = expect(removeTemplate({ ...context, waitMs: 10_000 }, { name: 't' })).rejects.toMatchObject({ code: 'TEMPLATE_IN_USE' });
    await new Promise((done) => setTimeout(done, 200));
    database.prepare('UPDATE journal SET pid = 999999999').run();
    database.close();
    held.release();
    await refused;
    expect(await listContainers(context)).toMatchObject([{ name: 'c1' }]);
    expect(journalOf(paths)).toEqual([]);
  });

  test('get a new version with refresh only', async () => {
    const { context } = await storeWithTemplate();
    await expect(addExample(context, 't')).rejects.toMatchObject({ code: 'TEMPLATE_EXISTS' });
    expect(await addExample(context, 't', true)).toMatchObject({ version: 2 });
    await expect(addExample(context, 'new', true)).rejects.toMatchObject({ code: 'TEMPLATE_NOT_FOUND' });
  });
});

asRoot('catalog rebuild', () => {
  test('brings everything back, and sweeps what no journal knows any more', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    mkdirSync(join(paths.privateAreas, '.trash-3-old'));
    writeFileSync(paths.catalog, 'garbage');
    await expect(listContainers(context)).rejects.toMatchObject({ code: 'BAD_CATALOG' });
    await expect(createContainer(context, { name: 'c2', template: 't' })).rejects.toMatchObject({ code: 'BAD_CATALOG' });
    expect(await rebuildCatalog(context)).toMatchObject({ templates: ['t'], containers: ['c1'], problems: [] });
    expect(await listContainers(context)).toMatchObject([{ name: 'c1', ostemplate: 't' }]);
    expect(readdirSync(paths.privateAreas)).toEqual(['c1']);
  });
});
