import { beforeAll, describe, expect, test } from 'vitest';
import { PYTHON } from '../support/project.js';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { buildRoot, compareTrees, packTar, unpackTar } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();

/** In each half: contents, modes, owners, xattrs, names and hard links are changed, things come and go. */
const CHANGE = `
import os, stat, sys
top = sys.argv[1]
paths = sorted(os.path.join(parent, name) for parent, folders, files in os.walk(os.fsencode(top)) for name in files)
for number, path in enumerate(paths):
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        continue
    if number % 7 == 0:
        os.unlink(path)
    elif number % 7 == 1:
        with open(path, 'r+b') as f:
            f.seek(status.st_size // 2)
            f.write(b'changed in place')
    elif number % 7 == 2:
        os.rename(path, path + b'-renamed')
    elif number % 7 == 3:
        os.link(path, path + b'-linked')
    elif number % 7 == 4:
        os.setxattr(path, 'user.changed', b'yes')
        os.chown(path, 4711, 4712)
        os.chmod(path, 0o640)
    os.path.lexists(path) and os.utime(path, ns=(status.st_atime_ns, 1_500_000_000_123_456_789 + number))
os.mkdir(top + '/added')
with open(top + '/added/sparse', 'wb') as f:
    f.truncate(50_000_000)
    f.seek(30_000_000)
    f.write(b'data between holes')
`;

async function change(folder: string): Promise<void> {
  await runChecked(PYTHON, ['-c', CHANGE, folder]);
}

async function expectSame(wanted: string, found: string): Promise<void> {
  const { differences, entries } = await compareTrees(wanted, found);
  expect(differences).toBe('');
  expect(entries).toBeGreaterThan(600);
}

/** What GNU cpio knows: neither xattrs nor nanoseconds, nor the times of symlinks and of the top folder. */
async function copyByCpio(from: string, to: string): Promise<void> {
  await runChecked('bash', ['-c', 'set -o pipefail; cd "$1" && find . -depth -print0 | sort -z -r | cpio -0 -o -H newc --quiet | (cd "$2" && cpio -i -d -m -u --sparse --quiet && find . -type l -exec touch -h -d @1 {} + && touch -d @1 .)', 'bash', from, to]);
}

// Without --modify-window=-1 rsync takes times within one second for equal, and does not set them.
async function rsync(from: string, to: string, ...options: string[]): Promise<string> {
  return runChecked('rsync', ['-aHAX', '--numeric-ids', '--delete', '--checksum', '--itemize-changes', '--modify-window=-1', ...options, `${from}/`, `${to}/`], { timeoutMs: 3 * MINUTE });
}

describe.each(VARIANTS)('copies of a whole tree with everything in it, $name', { timeout: 4 * MINUTE }, (variant) => {
  let root: ProgramRoot;
  let place = '';

  beforeAll(async () => {
    root = await ProgramRoot.mount(scratch, async (folder) => {
      await buildRoot(folder);
    });
    place = root.path(variant.place);
  });

  test('tar: out of the root, into the root, out again', async () => {
    // GNU tar knows no hard links of device nodes: what it makes of the tree on the host is what is wanted.
    const wanted = await unpackTar(await packTar(root.source, scratch.path('wanted.tar')), scratch.makeFolder('wanted'));
    await root.inVariant(variant, async () => {
      const archive = await packTar(place, scratch.path('first.tar'));
      await runChecked('mkdir', [`${place}-tar`]);
      await unpackTar(archive, `${place}-tar`);
      await expectSame(wanted, `${place}-tar`);
      const again = await packTar(`${place}-tar`, scratch.path('second.tar'));
      await expectSame(wanted, await unpackTar(again, scratch.makeFolder('unpacked')));
    });
  });

  test('cpio makes the same of it as on the host', async () => {
    const wanted = scratch.makeFolder('cpio');
    await copyByCpio(root.source, wanted);
    await runChecked('mkdir', [`${place}-cpio`]);
    await root.inVariant(variant, () => copyByCpio(place, `${place}-cpio`));
    await expectSame(wanted, `${place}-cpio`);
  });

  test('rsync: onto the template files, and back', async () => {
    const changed = scratch.path('changed');
    await runChecked('cp', ['-a', root.source, changed]);
    await change(changed);
    await root.inVariant(variant, async () => {
      expect(await rsync(root.source, place)).toBe('');
      expect(await rsync(changed, place, '--sparse')).toContain('deleting');
      await expectSame(changed, place);
      expect(await rsync(changed, place)).toBe('');
      // Back, writing into the files that there are.
      await rsync(root.source, place, '--inplace', '--no-whole-file');
      await expectSame(root.source, place);
      const out = scratch.makeFolder('out');
      await rsync(place, out);
      await expectSame(root.source, out);
    });
  });

  test('the same changes made on the root give the same tree', async () => {
    const wanted = scratch.path('wanted');
    await runChecked('cp', ['-a', root.source, wanted]);
    await change(wanted);
    await root.inVariant(variant, () => change(place));
    expect((await compareTrees(wanted, place, '--any-mtime')).differences).toBe('');
    await root.expectTemplateUntouched();
    expect((await compareTrees(wanted, place, '--any-mtime')).differences).toBe('');
  });
});
