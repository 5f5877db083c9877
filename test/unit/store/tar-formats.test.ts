import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { importTar, type ImportOptions } from '../../../src/store/import-tar.js';
import { archive, header, member, octal, padded, pax } from './tar-builder.js';
import { dump, dumpLine, temporaryStore } from './temporary-store.js';

async function lines(bytes: Buffer, options?: ImportOptions): Promise<string[]> {
  const paths = temporaryStore();
  return dump(paths, (await importTar(paths, Readable.from([bytes]), options)).tree);
}

/** The fields of one path: mode, uid, gid, nlink, size, blocks, mtime, rdev, ino, data, xattrs. */
async function fields(path: string, bytes: Buffer, options?: ImportOptions): Promise<string[]> {
  return dumpLine(await lines(bytes, options), path).slice(1);
}

const mtimeOf = async (value: string): Promise<string | undefined> => (await fields('/a', archive(pax([['mtime', value]]), member({ name: 'a' }))))[6];

describe('header fields', () => {
  it.each([
    ['0', '0.000000000'],
    ['1.5', '1.500000000'],
    ['1.1234567899', '1.123456789'],
    ['-1', '-1.000000000'],
    ['-0.25', '-1.750000000'],
    ['-1.0000000001', '-2.999999999'],
    ['4102444800.000000001', '4102444800.000000001'],
    ['-99999999999.5', '-100000000000.500000000'],
  ])('PAX mtime %s', async (value, expected) => {
    expect(await mtimeOf(value)).toBe(expected);
  });

  it('numbers in base 256: a time before 1970, large owners', async () => {
    const patch = (block: Buffer): void => {
      Buffer.alloc(12, 0xff).copy(block, 136);
      Buffer.from([0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0x00]).copy(block, 108);
    };
    const found = await fields('/a', archive(header({ name: 'a', format: 'gnu', patch })));
    expect([found[1], found[6]]).toEqual(['4000000000', '-1.000000000']);
  });

  it('numbers with leading spaces and without a terminator', async () => {
    const patch = (block: Buffer): void => {
      block.write('   644 \0', 100);
      block.write('77777777', 108);
    };
    expect((await fields('/a', archive(header({ name: 'a', patch })))).slice(0, 2)).toEqual(['100644', '16777215']);
  });

  it('checksums of signed bytes, as old tars made them', async () => {
    const block = header({ name: 'a\xff' });
    const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte < 128 ? byte : byte - 256), 0);
    block.write(octal(sum, 7), 148);
    expect((await fields('/a%FF', archive(block)))[0]).toBe('100644');
  });

  it('names: ustar prefix, GNU long names, PAX before GNU, bytes that are no UTF-8', async () => {
    const prefixed = await lines(archive(member({ prefix: 'p/q', name: 'a' })));
    expect(prefixed.map((line) => line.split(' ')[0])).toEqual(['/', '/p', '/p/q', '/p/q/a']);
    // In GNU's own format the prefix field holds other things.
    expect((await lines(archive(member({ name: 'a', format: 'gnu', patch: (block) => block.write('123', 345) })))).at(-1)).toMatch(/^\/a /);
    const long = 'n'.repeat(200);
    const gnu = [member({ name: '././@LongLink', type: 'L' }, `${long}\0`), member({ name: 'short' })];
    expect((await lines(archive(...gnu))).at(-1)).toContain(`/${long} `);
    expect((await lines(archive(pax([['path', Buffer.from([0xff, 0x0a])]]), ...gnu))).at(-1)).toMatch(/^\/%FF%0A /);
    const longLink = [member({ name: '././@LongLink', type: 'K' }, `${long}\0`), member({ name: 'l', type: '2', link: 'x' })];
    expect((await fields('/l', archive(...longLink)))[9]).toBe(`target=${long}`);
  });

  it('global PAX headers hold until they are taken back', async () => {
    const found = await lines(archive(pax([['uid', '7'], ['mtime', '3']], 'g'), member({ name: 'a', uid: 1 }), pax([['uid', '']]), member({ name: 'b', uid: 2 }), member({ name: 'c', uid: 3 })));
    expect(found.slice(1).map((line) => [line.split(' ')[2], line.split(' ')[7]])).toEqual([['7', '3.000000000'], ['2', '3.000000000'], ['7', '3.000000000']]);
  });

  it('types: contiguous files, v7 folders, label and incremental headers, symlinks with mode 0777', async () => {
    const found = await lines(
      archive(
        member({ name: 'label', type: 'V' }),
        member({ name: 'contiguous', type: '7' }, 'x'),
        member({ name: 'v7', type: '\0', format: 'v7' }, 'y'),
        member({ name: 'v7-folder/', type: '\0', format: 'v7', mode: 0o700 }),
        member({ name: 'dump', type: 'D', mode: 0o755 }, 'Yfile\0'),
        member({ name: 'link', type: '2', mode: 0o600, link: 'x', size: 5 }, ''),
      ),
    );
    expect(found.slice(1).map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual(['/contiguous 100644', '/dump 40755', '/link 120777', '/v7 100644', '/v7-folder 40700']);
  });

  it('devices and fifos', async () => {
    const found = await lines(archive(member({ name: 'c', type: '3', major: 1, minor: 3 }), member({ name: 'b', type: '4', major: 259, minor: 70_000 }), member({ name: 'p', type: '6' })));
    expect(found.slice(1).map((line) => line.split(' ').filter((_, at) => [0, 1, 8].includes(at)).join(' '))).toEqual([
      `/b 60644 ${(70_000 & 0xff) | (259 << 8) | ((70_000 & ~0xff) << 12)}`,
      '/c 20644 259',
      '/p 10644 0',
    ]);
  });
});

describe('where members go', () => {
  it('leading slashes and dots are dropped, missing folders are made', async () => {
    const found = await lines(archive(member({ name: './' , type: '5', mode: 0o1700, uid: 5 }), member({ name: '/abs//x/./y' })));
    expect(found.map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual(['/ 41700 5', '/abs 40755 0', '/abs/x 40755 0', '/abs/x/y 100644 0']);
  });

  it('the last of several members of one name counts, folders keep their children', async () => {
    const found = await lines(
      archive(
        member({ name: 'd/f' }, 'first'),
        member({ name: 'd', type: '5', mode: 0o711 }),
        member({ name: 'h', type: '1', link: 'd/f' }),
        member({ name: 'd/f', mode: 0o600 }, 'second'),
        member({ name: 'l', type: '2', link: 'd' }),
        member({ name: 'l', type: '5', mode: 0o700 }),
        member({ name: 'e', type: '5' }),
        member({ name: 'e', type: '2', link: 'x' }),
      ),
    );
    expect(found.slice(1).map((line) => line.split(' ').filter((_, at) => [0, 1, 4, 5].includes(at)).join(' '))).toEqual(['/d 40711 2 0', '/d/f 100600 1 6', '/e 120777 1 1', '/h 100644 1 5', '/l 40700 2 0']);
  });

  it('content that no file has in the end does not become an object', async () => {
    const paths = temporaryStore();
    const result = await importTar(paths, Readable.from([archive(member({ name: 'f' }, 'first'), member({ name: 'f' }, 'second'), member({ name: 'g' }, Buffer.alloc(200_000, 1)), member({ name: 'g' }))]));
    expect(result).toEqual({ tree: result.tree, files: 2, entries: 2, bytes: 6, newObjects: 1, newBytes: 6, sharedObjects: 0 });
  });

  it('hard links: to files, symlinks and devices, to themselves, with data and with a size but no data', async () => {
    const found = await lines(
      archive(
        member({ name: 'f' }, 'data'),
        member({ name: 'f', type: '1', link: 'f' }),
        member({ name: 'f2', type: '1', link: './f' }, 'data'),
        member({ name: 'f3', type: '1', link: '/f', size: 4 }, ''),
        member({ name: 's', type: '2', link: 'f' }),
        member({ name: 's2', type: '1', link: 's' }),
        member({ name: 'n', type: '3', major: 1, minor: 3 }),
        member({ name: 'n2', type: '1', link: 'n', size: 100 }, ''),
      ),
    );
    expect(found.slice(1).map((line) => line.split(' ').filter((_, at) => [0, 4, 9].includes(at)).join(' '))).toEqual(['/f 3 2', '/f2 3 2', '/f3 3 2', '/n 2 3', '/n2 2 3', '/s 2 4', '/s2 2 4']);
  });

  it.each([0, 512, 1024, 10_240])('an archive that ends with %i zero bytes', async (zeros) => {
    expect(await lines(Buffer.concat([member({ name: 'a' }, 'x'), Buffer.alloc(zeros)]))).toHaveLength(2);
  });
});

describe('xattrs and ACLs', () => {
  const xattrs = async (records: readonly (readonly [string, Buffer | string])[], options?: ImportOptions, type = '0'): Promise<(string | undefined)[]> => {
    const found = await fields('/a', archive(pax(records), member({ name: 'a', type, mode: 0o4644 })), options);
    return [found[0], found[10]];
  };

  it('binary values, encoded names, the form of libarchive; our own are dropped', async () => {
    expect(await xattrs([['SCHILY.xattr.user.b', Buffer.from([0, 0x0a, 0x3d, 0xff])], ['SCHILY.xattr.user.x%3Dy%25', '1']])).toEqual(['104644', 'user.b=000a3dff,user.x%3Dy%25=31']);
    expect(await xattrs([['LIBARCHIVE.xattr.user.%C3%B6', 'AAr/']])).toEqual(['104644', 'user.%C3%B6=000aff']);
    expect(await xattrs([['SCHILY.xattr.trusted.templatefs.node', 'x'], ['LIBARCHIVE.xattr.trusted.templatefs.node', 'AAAA']])).toEqual(['104644', '-']);
  });

  const EXTENDED = '0200000001000600ffffffff0200040007000000040004 00ffffffff10000400ffffffff20000000ffffffff'.replace(' ', '');

  it.each([
    'user::rw-,user:7:r--,group::r--,mask::r--,other::---',
    'user::rw-\nuser:7:r--\t#effective:r--\ngroup::r--\nmask::r--\nother::---\n',
    'u::rw-,u:bin:r--:7,g::r--,m:r--,o:---',
    'other::---,mask::r--,group::r--,user:7:r--,user::rw-',
  ])('ACL text %j', async (text) => {
    expect(await xattrs([['SCHILY.acl.access', text]])).toEqual(['104640', `system.posix_acl_access=${EXTENDED}`]);
  });

  it('names in ACLs where the caller knows who they are', async () => {
    const aclIds = { users: new Map([['alice', 7]]), groups: new Map<string, number>() };
    expect(await xattrs([['SCHILY.acl.access', 'user::rw-,user:alice:r--,group::r--,mask::r--,other::---']], { aclIds })).toEqual(['104640', `system.posix_acl_access=${EXTENDED}`]);
  });

  it('an ACL that the mode can hold becomes the mode; a default ACL stays, on folders', async () => {
    expect(await xattrs([['SCHILY.acl.access', 'user::rwx,group::r-x,other::r-x']])).toEqual(['104755', '-']);
    const [, folder] = await xattrs([['SCHILY.acl.default', 'user::rwx,group::r-x,other::r-x']], {}, '5');
    expect(folder).toBe('system.posix_acl_default=0200000001000700ffffffff04000500ffffffff20000500ffffffff');
    expect(await xattrs([['SCHILY.acl.default', 'user::rwx,group::r-x,other::r-x']])).toEqual(['104644', '-']);
  });
});

describe('sparse maps', () => {
  it('old GNU maps continue in blocks of their own', async () => {
    const segments = Array.from({ length: 30 }, (_, i) => [i * 8192, 4] as const);
    const entry = ([offset, length]: readonly [number, number]): string => octal(offset, 12) + octal(length, 12);
    const patch = (block: Buffer): void => {
      block.write(segments.slice(0, 4).map(entry).join(''), 386, 'latin1');
      block[482] = 1;
      block.write(octal(1_000_000, 12), 483, 'latin1');
    };
    const map = [segments.slice(4, 25), segments.slice(25)].map((part, at) => {
      const block = Buffer.alloc(512);
      block.write(part.map(entry).join(''), 'latin1');
      block[504] = at === 0 ? 1 : 0;
      return block;
    });
    const data = padded(Buffer.from('data'.repeat(30)));
    const found = await fields('/s', archive(header({ name: 's', type: 'S', format: 'gnu', size: 120, patch }), ...map, data, member({ name: 'z' })));
    expect([found[4], found[5]]).toEqual(['1000000', String(30 * 8)]);
  });
});
