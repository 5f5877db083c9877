import { describe, expect, test } from 'vitest';
import { isOwnOfEach, replayableChange, withMachineId, type ReplayableChange } from '../../../src/packages/replay-rules.js';
import { SECRET_PATHS } from '../../../src/packages/secrets.js';
import { ownContent, type ImageInode } from '../../../src/store/area-image.js';
import { Hierarchy } from '../../../src/store/hierarchy.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { folder, image, inode } from '../../support/area-image-builder.js';
import { temporaryStore } from '../store/temporary-store.js';

const OWN = 2 ** 28;
const ID = '0123456789abcdef0123456789abcdef';
const OBJECT = { hash: 'ab'.repeat(16), size: 40 };

/** All that was written, below folders that were made for it. */
function written(files: Readonly<Record<string, ImageInode>>, object = ''): ReplayableChange {
  const paths = temporaryStore();
  const tree = TreeReader.open(paths.tree(writeTree(paths, new Hierarchy()).digest));
  const root = folder(1, 0);
  const entries: Record<string, ImageInode> = { '/': root };
  let next = OWN + 500;
  for (const path of Object.keys(files)) {
    const names = path.split('/').slice(1, -1);
    for (const [index] of names.entries()) entries[`/${names.slice(0, index + 1).join('/')}`] ??= folder(next++);
  }
  return replayableChange(image({ '/': root }), image({ ...entries, ...files }), tree, { secretPaths: SECRET_PATHS, names: ['web1'], readObject: () => Buffer.from(object) });
}

describe('what may be made in other containers', () => {
  test('files for everybody, links, empty files, logs, password files without passwords', () => {
    const found = written({
      '/usr/bin/php': inode({ number: OWN, object: OBJECT }),
      '/usr/sbin/private': inode({ number: OWN + 1, mode: 0o100700, object: OBJECT }),
      '/var/lib/dpkg/lock': inode({ number: OWN + 2, mode: 0o100640 }),
      '/var/log/apt/term.log': inode({ number: OWN + 3, mode: 0o100640, content: 'Setting up php on web1' }),
      '/etc/shadow': inode({ number: OWN + 4, mode: 0o100640, content: 'root:*:19000:0:99999:7:::\ndaemon:!*:19000::::::\n' }),
      '/var/cache/debconf/passwords.dat': inode({ number: OWN + 5, mode: 0o100600, content: 'Name: x/password\nValue: \n' }),
    });
    expect(found.kind).toBe('replayable');
  });

  const secrets: Readonly<Record<string, ImageInode>> = {
    '/var/lib/app/key': inode({ number: OWN, mode: 0o100600, content: 'secret' }),
    '/etc/ssh/ssh_host_rsa_key.pub': inode({ number: OWN, content: 'public half' }),
    '/etc/shadow': inode({ number: OWN, mode: 0o100640, content: 'root:$y$j9T$abc:19000:0:99999:7:::\n' }),
    '/var/cache/debconf/passwords.dat': inode({ number: OWN, mode: 0o100600, content: 'Name: x/password\nValue: hunter2\n' }),
    '/etc/hostname': inode({ number: OWN, content: 'web1\n' }),
    '/var/lib/app/conf': inode({ number: OWN, content: 'listen http://web1:80\n' }),
  };
  for (const [path, file] of Object.entries(secrets)) {
    test(`not ${path} with something of one container`, () => {
      expect(written({ [path]: file })).toMatchObject({ kind: 'unique', path });
    });
  }

  test('a name that is part of another word is not the container, one in an object is', () => {
    expect(written({ '/etc/conf': inode({ number: OWN, content: 'web10 myweb1 web1-old\n' }) }).kind).toBe('replayable');
    const link = { '/etc/conf': inode({ number: OWN, object: OBJECT }) };
    expect(written(link, 'nothing').kind).toBe('replayable');
    expect(written(link, 'Name=web1')).toMatchObject({ kind: 'unique', why: 'it names the container' });
  });

  test('the log of zypper names the machine: it stays where it is', () => {
    const found = written({ '/usr/bin/php': inode({ number: OWN, object: OBJECT }), '/var/log/zypper.log': inode({ number: OWN + 1, mode: 0o100640, content: 'web1(7) [zypper] went' }) });
    if (found.kind !== 'replayable') throw new Error(found.why);
    for (const names of [found.change.written, found.change.after.entries]) {
      expect(names.has('/usr/bin/php')).toBe(true);
      expect(names.has('/var/log/zypper.log')).toBe(false);
    }
    expect(isOwnOfEach('/var/log/zypper.log')).toBe(true);
  });

  test('a machine-id is left out, and made anew in each container', () => {
    const file = (number: number): ImageInode => inode({ number, mode: 0o100444, content: `${ID}\n` });
    const found = written({ '/etc/machine-id': file(OWN), '/var/lib/dbus/machine-id': file(OWN + 1) });
    if (found.kind !== 'replayable') throw new Error(found.why);
    expect(found.makesMachineId).toBe(true);
    const contentOf = (of: typeof found.change.after, path: string): string | undefined => {
      const entry = of.entries.get(path);
      return entry?.kind === 'inode' ? ownContent(entry.inode)?.toString() : undefined;
    };
    for (const path of ['/etc/machine-id', '/var/lib/dbus/machine-id']) {
      expect(contentOf(found.change.after, path)).toBe('');
      expect(contentOf(withMachineId(found.change.after, found.change, 'f'.repeat(32)), path)).toBe(`${'f'.repeat(32)}\n`);
    }
    // What was made of it could not be made anew.
    expect(written({ '/etc/machine-id': file(OWN), '/etc/app': inode({ number: OWN + 2, content: `id=${ID}\n` }) })).toMatchObject({ kind: 'unique', path: '/etc/app' });
  });
});
