import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { importTar, importTarFile, type ImportOptions } from '../../../src/store/import-tar.js';
import { archive, END, header, member, pax, record, seal } from './tar-builder.js';
import { names, shell, temporaryFolder, temporaryStore } from './temporary-store.js';

interface Refused {
  readonly bytes: Buffer;
  /** What the message must name. */
  readonly says: RegExp;
  readonly options?: ImportOptions;
  readonly code?: string;
}

const folder = (name: string): Buffer => member({ name, type: '5', mode: 0o755 });
const link = (name: string, target: string, type = '2'): Buffer => member({ name, type, link: target });
const base256 = (bytes: number[]) => (block: Buffer) => Buffer.from(bytes).copy(block, 124);
const acl = (text: string): Buffer => Buffer.concat([pax([['SCHILY.acl.access', text]]), member({ name: 'acl' })]);

const REFUSED: Readonly<Record<string, Refused>> = {
  'an empty stream': { bytes: Buffer.alloc(0), says: /empty/ },
  'no archive at all': { bytes: Buffer.alloc(4096, 'text '), says: /at byte 0.*no tar archive/ },
  'a wrong checksum': { bytes: archive(member({ name: 'a' }, 'x'), Buffer.concat([header({ name: 'b' }).fill(1, 0, 1)])), says: /byte 1024.*checksum/ },
  'a header that is cut short': { bytes: Buffer.concat([member({ name: 'a' }), header({ name: 'b' }).subarray(0, 100)]), says: /byte 512.*cut short/ },
  'data that is cut short': { bytes: member({ name: 'a' }, 'x'.repeat(5000)).subarray(0, 2000), says: /member "a".*cut short/ },
  'padding that is cut short': { bytes: member({ name: 'a' }, 'x').subarray(0, 700), says: /member "a".*cut short/ },
  'large data that is cut short': { bytes: Buffer.concat([header({ name: 'big', size: 3_000_000 }), Buffer.alloc(2_000_000, 1)]), says: /member "big".*cut short/ },
  'an end after a PAX header': { bytes: archive(pax([['path', 'x']])), says: /ends before/ },
  'a single zero block in the middle': { bytes: archive(member({ name: 'a' }), Buffer.alloc(512), member({ name: 'b' })), says: /byte 1024.*zero block/ },
  'a path with ..': { bytes: archive(member({ name: 'a/../../etc/passwd' })), says: /member "a\/\.\.\/\.\.\/etc\/passwd".*"\.\."/ },
  'a hard link with ..': { bytes: archive(member({ name: 'a' }), link('b', '../a', '1')), says: /member "b".*"\.\."/ },
  'a PAX path with ..': { bytes: archive(pax([['path', '../x']]), member({ name: 'fine' })), says: /member "\.\.\/x"/ },
  'a member below a symlink': { bytes: archive(link('l', '/etc'), member({ name: 'l/passwd' })), says: /member "l\/passwd".*symlink/ },
  'a folder below a symlink': { bytes: archive(link('l', '.'), folder('l/d')), says: /member "l\/d".*symlink/ },
  'a hard link through a symlink': { bytes: archive(folder('d'), member({ name: 'd/f' }), link('l', 'd'), link('h', 'l/f', '1')), says: /member "h".*symlink/ },
  'a member below a file': { bytes: archive(member({ name: 'f' }), member({ name: 'f/g' })), says: /member "f\/g".*no folder/ },
  'a hard link to a later member': { bytes: archive(link('a', 'b', '1'), member({ name: 'b' })), says: /member "a".*before it/ },
  'a hard link to a folder': { bytes: archive(folder('d'), link('a', 'd', '1')), says: /member "a".*folder/ },
  'a hard link to the root': { bytes: archive(link('a', '/', '1')), says: /member "a".*folder/ },
  'a file over a folder with children': { bytes: archive(member({ name: 'd/f' }), member({ name: 'd' })), says: /member "d".*not empty/ },
  'a hard link over a folder with children': { bytes: archive(member({ name: 'd/f' }), link('d', 'd/f', '1')), says: /member "d".*not empty/ },
  'a root that is no folder': { bytes: archive(member({ name: './' , type: '2', link: 'x' })), says: /root/ },
  'no name': { bytes: archive(member({ name: '' })), says: /no name/ },
  'a name of 256 bytes': { bytes: archive(pax([['path', `d/${'n'.repeat(256)}`]]), member({ name: 'x' })), says: /256 bytes/ },
  'a path of 40,000 bytes': { bytes: archive(pax([['path', 'd/'.repeat(20_000)]]), member({ name: 'x' })), says: /40000 bytes/ },
  'a NUL in a path': { bytes: archive(pax([['path', 'a\0b']]), member({ name: 'x' })), says: /NUL/ },
  'a target of 4096 bytes': { bytes: archive(pax([['linkpath', 't'.repeat(4096)]]), link('l', 'x')), says: /4096 bytes/ },
  'a target with a NUL': { bytes: archive(pax([['linkpath', 'a\0b']]), link('l', 'x')), says: /NUL/ },
  'an empty target': { bytes: archive(link('l', '')), says: /0 bytes/ },
  'a negative size': { bytes: archive(header({ name: 'a', patch: base256([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) })), says: /negative/ },
  'a size above 2^53': { bytes: archive(header({ name: 'a', patch: base256([0x80, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0]) })), says: /size is no number/ },
  'a size that is no number': { bytes: archive(header({ name: 'a', patch: (block) => block.write('12z', 124) })), says: /size is no number/ },
  'a PAX size that is no number': { bytes: archive(pax([['size', '-1']]), member({ name: 'a' })), says: /size is no number/ },
  'an mtime that is none': { bytes: archive(pax([['mtime', '1e9']]), member({ name: 'a' })), says: /mtime/ },
  'an owner above 2^32': { bytes: archive(pax([['uid', '4294967296']]), member({ name: 'a' })), says: /owner/ },
  'a device number that is too large': { bytes: archive(member({ name: 'd', type: '3', major: 4096 })), says: /device/ },
  'an unknown type': { bytes: archive(member({ name: 'a', type: 'Z' })), says: /member "a".*type "Z"/ },
  'a continued file of another volume': { bytes: archive(member({ name: 'a', type: 'M' })), says: /type "M"/ },
  'a PAX header above 1 MiB': { bytes: archive(header({ name: 'x', type: 'x', size: 2 ** 20 + 1 })), says: /more than 1048576/ },
  'a PAX record without an end': { bytes: archive(member({ name: 'x', type: 'x' }, '999 path=a\n'), member({ name: 'a' })), says: /PAX record/ },
  'a PAX record without =': { bytes: archive(member({ name: 'x', type: 'x' }, '8 patha\n'), member({ name: 'a' })), says: /PAX record/ },
  'a PAX record of length 0': { bytes: archive(member({ name: 'x', type: 'x' }, '0 a=b\n'), member({ name: 'a' })), says: /PAX record/ },
  'a GNU long name above 64 KiB': { bytes: archive(header({ name: 'x', type: 'L', size: 2 ** 20 })), says: /more than 65536/ },
  'an xattr above 64 KiB': { bytes: archive(pax([['SCHILY.xattr.user.a', 'v'.repeat(65_537)]]), member({ name: 'a' })), says: /64 KiB/ },
  'an xattr name of 256 bytes': { bytes: archive(pax([[`SCHILY.xattr.${'n'.repeat(256)}`, 'v']]), member({ name: 'a' })), says: /xattr/ },
  'more xattrs than can be listed': {
    bytes: archive(pax(Array.from({ length: 300 }, (_, i) => [`SCHILY.xattr.user.${String(i).padStart(240, 'n')}`, 'v'] as const)), member({ name: 'a' })),
    says: /list/,
  },
  'an xattr that is no base64': { bytes: archive(pax([['LIBARCHIVE.xattr.user.a', '*']]), member({ name: 'a' })), says: /base64/ },
  'an ACL with names': { bytes: archive(acl('user::rw-,user:alice:r--,group::r--,mask::r--,other::---')), says: /alice/ },
  'an ACL without a mask': { bytes: archive(acl('user::rw-,user:7:r--,group::r--,other::---')), says: /mask/ },
  'an ACL without others': { bytes: archive(acl('user::rw-,group::r--')), says: /lacks/ },
  'an ACL with one user twice': { bytes: archive(acl('user::rw-,user:7:r--,user:7:r--,group::r--,mask::r--,other::---')), says: /twice/ },
  'an ACL with odd permissions': { bytes: archive(acl('user::rwz,group::r--,other::---')), says: /permissions/ },
  'a binary ACL that is broken': { bytes: archive(pax([['SCHILY.xattr.system.posix_acl_access', 'nonsense']]), member({ name: 'a' })), says: /ACL is broken/ },
  'a sparse map that overlaps': { bytes: sparse('0,4,2,4', 8, 'x'.repeat(8)), says: /overlap/ },
  'a sparse map that leaves the file': { bytes: sparse('0,4,6,4', 8, 'x'.repeat(8)), says: /leave/ },
  'a sparse map with other data': { bytes: sparse('0,4', 8, 'x'.repeat(8)), says: /bytes of data/ },
  'a sparse map with half a segment': { bytes: sparse('0,4,5', 8, 'x'.repeat(4)), says: /half/ },
  'a sparse map with rubbish': { bytes: sparse('0,x', 8, 'x'.repeat(4)), says: /numbers/ },
  'a sparse file of 8 EiB': { bytes: sparse('0,4', 2 ** 53 - 1, 'x'.repeat(4)), says: /member "s".*holes/ },
  'a sparse size above 2^63': {
    bytes: archive(pax([['GNU.sparse.map', '0,4'], ['GNU.sparse.size', '9223372036854775808']]), member({ name: 's' }, 'data')),
    says: /sparse size/,
  },
  'a map in the data that does not end': {
    bytes: archive(pax([['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.realsize', '9']]), member({ name: 's' }, '9'.padEnd(512, '\n9'))),
    says: /sparse map/,
  },
  'a map in the data with a million of millions': {
    bytes: archive(pax([['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.realsize', '9']]), member({ name: 's' }, '1000000000000\n'.padEnd(512, '\0'))),
    says: /too long/,
  },
  'more entries than allowed': { bytes: archive(member({ name: 'a' }), member({ name: 'b' }), member({ name: 'c' })), says: /member "c".*3 entries/, options: { maxEntries: 3 } },
  'more bytes than allowed': { bytes: archive(member({ name: 'a' }, 'x'.repeat(5000))), says: /more than 4000 bytes/, options: { maxBytes: 4000 }, code: 'NO_SPACE' },
  'more bytes of one file than allowed': { bytes: archive(header({ name: 'a', size: 2 ** 40 })), says: /bytes of new content/, options: { maxBytes: 2 ** 30 }, code: 'NO_SPACE' },
  'more bytes of one file than there are': { bytes: archive(header({ name: 'a', patch: base256([0x80, 0, 0, 0, 0, 0x1f, 0, 0, 0, 0, 0, 0]) })), says: /bytes of new content/, code: 'NO_SPACE' },
  'a gzip stream that is cut short': { bytes: gzipSync(archive(member({ name: 'a' }, 'x'.repeat(5000)))).subarray(0, 60), says: /gzip/ },
  'a gzip stream with a wrong check': { bytes: breakTail(gzipSync(archive(member({ name: 'a' }, 'x')))), says: /gzip/ },
  'a bomb of zeros': { bytes: gzipSync(Buffer.concat([header({ name: 'zeros', size: 50_000_000 }), Buffer.alloc(50_000_000)])), says: /more than/, options: { maxBytes: 1_000_000 }, code: 'NO_SPACE' },
  bzip2: { bytes: Buffer.from('BZh91AY&SY'), says: /bzip2/ },
};

function sparse(map: string, size: number, data: string): Buffer {
  return archive(pax([['GNU.sparse.map', map], ['GNU.sparse.size', String(size)], ['GNU.sparse.name', 's']]), member({ name: 'GNUSparseFile.1/s' }, data));
}

function breakTail(bytes: Buffer): Buffer {
  bytes[bytes.length - 6] = (bytes[bytes.length - 6] ?? 0) ^ 1;
  return bytes;
}

describe('archives that are refused', () => {
  it.each(Object.entries(REFUSED))('%s', async (_, { bytes, says, options, code }) => {
    const paths = temporaryStore();
    // A sound file before it must leave nothing, either.
    await expect(importTar(paths, Readable.from(chunks(bytes)), options)).rejects.toMatchObject({
      name: 'TemplatefsError',
      code: code ?? 'BAD_ARCHIVE',
      message: expect.stringMatching(says) as string,
    });
    expect([names(paths.staging), names(paths.trees), names(paths.objects)]).toEqual([[], [], []]);
  });

  it.each(['zstd', 'xz'])('a %s stream that is cut short', async (program) => {
    const folder = temporaryFolder();
    shell('head -c 3000000 /dev/urandom > "$1/f"; tar -C "$1" -cf - f | "$2" -c1 > "$1/whole"; head -c 1000000 "$1/whole" > "$1/cut"', folder, program);
    const paths = temporaryStore();
    await expect(importTarFile(paths, `${folder}/cut`)).rejects.toMatchObject({ code: 'BAD_ARCHIVE' });
    expect([names(paths.staging), names(paths.trees)]).toEqual([[], []]);
  });

  it('a broken tail leaves no objects of what came before', async () => {
    const paths = temporaryStore();
    const bytes = Buffer.concat([member({ name: 'good' }, 'good'), member({ name: 'large' }, Buffer.alloc(400_000, 7)), Buffer.alloc(512, 1), END]);
    await expect(importTar(paths, Readable.from([bytes]))).rejects.toMatchObject({ code: 'BAD_ARCHIVE' });
    expect([names(paths.staging), names(paths.trees), names(paths.objects)]).toEqual([[], [], []]);
  });

  it('random damage never does anything but throw a TemplatefsError or give a tree', async () => {
    const sound = archive(folder('d'), pax([['mtime', '1.5'], ['SCHILY.xattr.user.a', 'b']]), member({ name: 'd/f' }, 'content'), link('d/l', 'f'), link('d/h', 'd/f', '1'));
    let state = 42;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return state % below;
    };
    const paths = temporaryStore();
    for (let round = 0; round < 200; round += 1) {
      const bytes = Buffer.from(sound);
      for (let i = 0; i < 3; i += 1) bytes[random(bytes.length)] = random(256);
      // With right checksums, so that the damage gets further in.
      for (let at = 0; at < bytes.length - 1024; at += 512) if (bytes.subarray(at + 257, at + 262).equals(Buffer.from('ustar'))) seal(bytes.subarray(at, at + 512));
      await importTar(paths, Readable.from([bytes])).catch((error: unknown) => {
        expect(error).toMatchObject({ name: 'TemplatefsError', code: 'BAD_ARCHIVE' });
      });
    }
    expect(names(paths.staging)).toEqual([]);
  });
});

function* chunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length || at === 0; at += 700) yield bytes.subarray(at, at + 700);
}

it('a record knows its own length', () => {
  expect(record('path', 'a'.repeat(89)).toString()).toBe(`99 path=${'a'.repeat(89)}\n`.replace('99', String(`99 path=${'a'.repeat(89)}\n`.length)));
});
