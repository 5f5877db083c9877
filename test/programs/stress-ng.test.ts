import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { useLoopVolume } from '../support/loop-volume.js';
import { IS_LONG, ProgramRoot, VARIANTS } from '../support/program-root.js';
import { runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();
const ext4 = useLoopVolume(scratch, 4 * 1024 ** 3);

/** Of those below: what the file systems of others have stumbled over most. */
const QUICK = ['chmod', 'dir', 'fallocate', 'flock', 'getdent', 'hdd', 'inotify', 'iomix', 'link', 'lockf', 'mmap', 'rename', 'symlink', 'xattr'];

/*
 * Of the classes filesystem and io, and what else works on files. Left out, because they do not work on the file system
 * that they are pointed at: bind-mount, binderfs (mount others), eventfd (no file system), procfs, rawdev (a block device);
 * and those with a mount, swap or namespace of their own (ramfs, swap, overlay) for the same reason.
 */
const ALL = [
  ...['access', 'aio', 'aiol', 'chattr', 'chdir', 'chmod', 'chown', 'copy-file', 'dentry', 'dir', 'dirdeep', 'dirmany', 'dnotify', 'dup'],
  ...['fallocate', 'fanotify', 'fault', 'fcntl', 'fiemap', 'fifo', 'file-ioctl', 'filename', 'flock', 'fpunch', 'fsize', 'fstat', 'getdent'],
  ...['handle', 'hdd', 'inode-flags', 'inotify', 'io', 'io-uring', 'iomix', 'ioprio', 'lease', 'link', 'locka', 'lockf', 'lockofd', 'mincore'],
  ...['mknod', 'mmap', 'mmapfork', 'msync', 'open', 'readahead', 'rename', 'revio', 'seek', 'sendfile', 'splice', 'symlink', 'sync-file'],
  ...['touch', 'utime', 'verity', 'xattr'],
];

/** What FUSE itself has not: the stressor says so and does nothing. */
const NOT_ON_FUSE = ['fiemap'];

/** The smallest that there are, for a small disk. */
const SIZES = [
  ...['hdd', 'iomix', 'fallocate', 'mmap', 'readahead', 'sync-file'].flatMap((name) => [`--${name}-bytes`, '32M']),
  ...['--copy-file-bytes', '128M', '--seek-size', '32M'],
];

interface Outcome {
  readonly failed: boolean;
  readonly skipped: boolean;
  readonly said: string;
}

async function stress(stressor: string, folder: string): Promise<Outcome> {
  const options = [`--${stressor}`, '2', ...SIZES, '--mmap-file', '--timeout', '1', '--verify', '--temp-path', folder];
  const { status, signal, stdout, stderr } = await runProgram('stress-ng', options, { cwd: folder, timeoutMs: MINUTE });
  const said = `${stressor}: ${signal ?? String(status)}\n${stdout}${stderr}`;
  return { failed: status !== 0, skipped: /skipp|not implemented/.test(said), said };
}

describe.each(VARIANTS)('stress-ng --verify finds nothing that it does not find on ext4, $name', { timeout: 15 * MINUTE }, (variant) => {
  test('stressors of files', async () => {
    const root = await ProgramRoot.mount(scratch, (folder) => {
      for (let n = 0; n < 300; n += 1) writeFileSync(join(folder, `of-the-template-${n}`), `${n}\n`);
    });
    const folder = root.path(variant.place);
    const done: string[] = [];
    const known: string[] = [];
    await root.inVariant(variant, async () => {
      for (const stressor of IS_LONG ? ALL : QUICK) {
        const beside = join(ext4(), 'work', stressor);
        mkdirSync(beside, { recursive: true });
        const [here, there] = await Promise.all([stress(stressor, folder), stress(stressor, beside)]);
        if (there.failed || there.skipped) {
          known.push(`${stressor} cannot be judged: it ${there.failed ? 'fails' : 'is skipped'} on ext4, too: ${there.said}`);
          continue;
        }
        expect(here.failed, `${here.said}\nOn ext4 it ended well.`).toBe(false);
        expect(here.skipped, `${here.said}\nOn ext4 it was not skipped.`).toBe(NOT_ON_FUSE.includes(stressor));
        done.push(stressor);
      }
    });
    if (known.length > 0) console.log(known.join('\n'));
    expect(done.length).toBeGreaterThanOrEqual(IS_LONG ? ALL.length - 8 : QUICK.length);
    for (let n = 0; n < 300; n += 1) expect(readFileSync(join(folder, `of-the-template-${n}`), 'utf8')).toBe(`${n}\n`);
    await root.expectTemplateUntouched();
  });
});
