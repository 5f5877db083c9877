import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { bootId } from '../../../src/catalog/process-identity.js';
import { formatKeyValues } from '../../../src/core/key-value-text.js';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { cleanDeadEngine } from '../../../src/engine/clean-dead-engine.js';
import { encodeFrame } from '../../../src/engine/control-client.js';
import { engineState } from '../../../src/engine/engine-state.js';
import { isEngineMount, parseMountInfo, type MountEntry } from '../../../src/engine/mount-table.js';
import { temporaryStore } from '../catalog/temporary-store.js';

const ROOT_LINE = '26 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw';

let paths: StorePaths;
beforeEach(() => {
  paths = temporaryStore();
  mkdirSync(paths.run('c1'));
});

function mountOf(mountpoint: string): MountEntry {
  return { device: '0:50', mountpoint, type: 'fuse.templatefs', source: 'templatefs' };
}

/** What an engine would have written. */
function writeState(values: Readonly<Record<string, string>>): void {
  const all = { holder: '999999999', worker: '999999998', mountpoint: paths.root('c1'), boot: bootId(), passthrough: 'yes', connection: '50', ...values };
  writeFileSync(paths.engineState('c1'), formatKeyValues(Object.entries(all).map(([key, value]) => ({ key, value }))));
}

/** A control socket that says that it serves `container`. */
async function listen(container: string): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined).once('data', () => socket.end(encodeFrame(['ok', `container=${container}`])));
  });
  await new Promise<void>((resolve) => server.listen(paths.controlSocket('c1'), resolve));
  onTestFinished(() => void server.close());
}

describe('the mount table', () => {
  test('is read with its escapes, and whatever stands in the optional fields', () => {
    const text = [
      ROOT_LINE,
      '40 26 0:50 / /mnt/a\\040b\\134c rw - fuse.templatefs templatefs rw',
      '41 26 0:51 / /x rw shared:3 master:1 - fuse.templatefs a\\040b rw',
      'nonsense',
      '',
    ].join('\n');
    expect(parseMountInfo(text).slice(1)).toEqual([
      { device: '0:50', mountpoint: '/mnt/a b\\c', type: 'fuse.templatefs', source: 'templatefs' },
      { device: '0:51', mountpoint: '/x', type: 'fuse.templatefs', source: 'a b' },
    ]);
  });

  test('says what is on top', () => {
    const below = mountOf('/mnt');
    expect(isEngineMount([below], '/mnt')).toBe(true);
    expect(isEngineMount([below, { ...below, type: 'tmpfs' }], '/mnt')).toBe(false);
    expect(isEngineMount([below], '/other')).toBe(false);
    // Another engine's root at the place of one that is gone.
    expect(isEngineMount([below], '/mnt', 50)).toBe(true);
    expect(isEngineMount([below], '/mnt', 51)).toBe(false);
  });
});

describe('engineState', () => {
  test('nothing there is stopped', async () => {
    expect(await engineState(paths, 'c1', [])).toEqual({ state: 'stopped' });
    expect(await engineState(paths, 'never-run', [])).toEqual({ state: 'stopped' });
  });

  test('an engine that lives, is mounted and answers is mounted', async () => {
    writeState({ holder: String(process.pid) });
    await listen('c1');
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({
      state: 'mounted',
      engine: { holder: process.pid, passthrough: 'yes', connection: 50 },
    });
  });

  test('a holder that is gone', async () => {
    writeState({});
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({ state: 'dead', reason: expect.stringContaining('is gone') as string });
  });

  test('a pid that another program has now', async () => {
    writeState({ holder: String(process.pid) });
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({ state: 'dead', reason: expect.stringContaining('no engine') as string });
    await listen('c2');
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({ state: 'dead' });
  });

  test('an engine without its mount', async () => {
    writeState({ holder: String(process.pid) });
    await listen('c1');
    expect(await engineState(paths, 'c1', [])).toMatchObject({ state: 'dead', reason: expect.stringContaining('nothing is mounted') as string });
  });

  test('a restart of the host', async () => {
    writeState({ holder: String(process.pid), boot: '00000000-0000-0000-0000-000000000000' });
    await listen('c1');
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({ state: 'dead', rebooted: true });
  });

  test.each(['', 'holder 1', 'nonsense\n', 'holder x\nmountpoint /x\nboot y\n'])('a state file that holds %j', async (text) => {
    writeFileSync(paths.engineState('c1'), text);
    expect(await engineState(paths, 'c1', [])).toMatchObject({ state: 'dead', engine: null });
  });

  test('a mount without a state file', async () => {
    expect(await engineState(paths, 'c1', [mountOf(paths.root('c1'))])).toMatchObject({ state: 'dead', engine: null });
  });
});

describe('cleanDeadEngine', () => {
  test('removes what is left, and nothing else', async () => {
    writeState({});
    writeFileSync(paths.controlSocket('c1'), '');
    const found = await engineState(paths, 'c1');
    if (found.state !== 'dead') throw new Error(`found ${found.state}`);
    mkdirSync(paths.privateArea('c1'));
    await cleanDeadEngine(paths, 'c1', found);
    expect(existsSync(paths.run('c1'))).toBe(false);
    expect(existsSync(paths.privateArea('c1'))).toBe(true);
    expect(await engineState(paths, 'c1')).toEqual({ state: 'stopped' });
  });
});
