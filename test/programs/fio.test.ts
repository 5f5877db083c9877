import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { IS_LONG, ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();

/** Name, and what it adds to a job. */
const JOBS: readonly (readonly [string, readonly string[]])[] = [
  ['psync, random writes', ['--ioengine=psync', '--rw=randwrite', '--bs=4k']],
  ['psync, reads and writes of many sizes, not aligned', ['--ioengine=psync', '--rw=randrw', '--bsrange=512-70000', '--bs_unaligned']],
  ['mmap', ['--ioengine=mmap', '--rw=randwrite', '--bs=4k']],
  ['mmap, reads and writes', ['--ioengine=mmap', '--rw=randrw', '--bsrange=4k-64k']],
  ['libaio, direct', ['--ioengine=libaio', '--direct=1', '--iodepth=16', '--rw=randwrite', '--bs=16k']],
  ['io_uring', ['--ioengine=io_uring', '--iodepth=16', '--rw=randwrite', '--bs=8k']],
  ['pvsync2 with fdatasync', ['--ioengine=pvsync2', '--fdatasync=64', '--rw=randrw', '--bs=8k']],
  ['splice', ['--ioengine=splice', '--rw=write', '--bs=64k']],
];
const CHOSEN = IS_LONG ? JOBS : JOBS.filter((_, number) => [0, 3, 4, 5].includes(number));

async function fio(file: string, ...options: string[]): Promise<void> {
  const said = await runChecked('fio', [...COMMON, `--filename=${file}`, ...options], { cwd: scratch.folder, timeoutMs: 4 * MINUTE });
  expect(said).toMatch(/err= 0/);
  expect(said).not.toMatch(/err=\s*[1-9]|verify: bad|fio: .*fail/);
}

const COMMON = ['--name=job', '--thread', '--randrepeat=1', '--randseed=4711', '--verify_fatal=1', '--fallocate=none'];

describe.each(VARIANTS)('fio finds again what it wrote, $name', { timeout: 5 * MINUTE }, (variant) => {
  let root: ProgramRoot;

  beforeAll(async () => {
    root = await ProgramRoot.mount(scratch, async (folder) => {
      await runChecked('sh', ['-c', 'head -c 256M /dev/urandom > "$1/large"; ln "$1/large" "$1/other-name"; head -c 40M "$1/large" > "$1/small"', 'sh', folder]);
    });
  });

  test.each(CHOSEN)('%s', async (_name, options) => {
    await root.inVariant(variant, async () => {
      await fio(root.path(variant.place, 'large'), '--size=256M', '--io_size=24M', '--verify=crc32c', ...options);
      await fio(root.path(variant.place, 'made'), '--size=32M', '--verify=crc32c', ...options);
    });
  });

  test('what it did not write is still what the template had', async () => {
    const wanted = join(scratch.makeFolder('wanted'), 'small');
    await runChecked('cp', [join(root.source, 'small'), wanted]);
    // The pattern is the offset, so the same random writes give the same file.
    const job = ['--size=40M', '--io_size=6M', '--ioengine=psync', '--rw=randwrite', '--bs=4k', '--verify=pattern', '--verify_pattern=%o'];
    await fio(wanted, ...job);
    const found = root.path(variant.place, 'small');
    await root.inVariant(variant, () => fio(found, ...job));
    await runChecked('cmp', [wanted, found]);
    await root.expectTemplateUntouched();
    await runChecked('cmp', [wanted, found]);
    await runChecked('cmp', [root.path(variant.place, 'large'), root.path(variant.place, 'other-name')]);
  });
});
