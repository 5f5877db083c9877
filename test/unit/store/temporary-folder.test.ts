import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processStart } from '../../../src/catalog/process-identity.js';
import { makeTemporaryFolder } from '../../../src/store/temporary-folder.js';

let parent: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'templatefs-folders-test-'));
});

afterEach(() => {
  rmSync(parent, { recursive: true, force: true });
});

const namespace = /[0-9]+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '';

function leave(name: string): string {
  const path = join(parent, name);
  mkdirSync(path);
  writeFileSync(join(path, 'content'), 'of a command');
  return path;
}

describe('makeTemporaryFolder', () => {
  it('makes a folder that only its owner can read', () => {
    const folder = makeTemporaryFolder('test', parent);
    expect(statSync(folder).mode & 0o7777).toBe(0o700);
    expect(readdirSync(parent)).toHaveLength(1);
  });

  it('removes what a killed command has left, and nothing else', () => {
    const killed = leave(`templatefs-test-${namespace}-${process.pid}-1-abcdef`);
    const stay = [
      leave(`templatefs-test-${namespace}-${process.pid}-${processStart(process.pid) ?? ''}-abcdef`),
      leave(`templatefs-test-1-${process.pid}-1-abcdef`),
      leave('templatefs-of-somebody'),
    ];
    const foreign = leave(`templatefs-test-${namespace}-${process.pid}-2-abcdef`);
    chownSync(foreign, 12345, 12345);
    makeTemporaryFolder('test', parent);
    expect(existsSync(killed)).toBe(false);
    for (const path of [...stay, foreign]) expect(existsSync(join(path, 'content')), path).toBe(true);
  });
});
