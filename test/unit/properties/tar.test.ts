import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArchiveHierarchy } from '../../../src/store/archive-hierarchy.js';
import { ByteSource } from '../../../src/store/byte-source.js';
import { importTar } from '../../../src/store/import-tar.js';
import { formatPaxProbe } from './pax-probe.js';
import { parsePaxInteger, parsePaxRecords, parsePaxTime } from '../../../src/store/pax-records.js';
import { checkAcl, NO_ACL_IDS, parseAclText } from '../../../src/store/posix-acl.js';
import { parseTarNumber } from '../../../src/store/tar-header.js';
import type { TarMember } from '../../../src/store/tar-member.js';
import { TarReader } from '../../../src/store/tar-reader.js';
import { memberXattrs } from '../../../src/store/tar-xattrs.js';
import { archive, END, member, pax, record, seal } from '../store/tar-builder.js';
import { dump, shell, temporaryFolder, temporaryStore } from '../store/temporary-store.js';
import { changed, changes, orBroken, orRefusedLater, PROPERTY_TIMEOUT_MS, refuse, runs } from './property.js';

const names = fc.oneof(
  fc.constantFrom('a', 'b', 'd', 'd/a', 'd/b', 'd/e/f', './a', '/a', '../a', 'a/../b', '', '.', '/', 'l/x', 'd/', 'n'.repeat(300)),
  fc.string({ maxLength: 120, unit: 'binary' }),
);
const paxKeys = fc.constantFrom('path', 'linkpath', 'size', 'mtime', 'uid', 'gid', 'SCHILY.xattr.user.x', 'SCHILY.acl.access', 'SCHILY.xattr.trusted.templatefs.node',
  'LIBARCHIVE.xattr.user.y', 'GNU.sparse.major', 'GNU.sparse.minor', 'GNU.sparse.map', 'GNU.sparse.realsize', 'GNU.sparse.offset', 'GNU.sparse.numbytes', 'comment');
const paxValues = fc.oneof(fc.constantFrom('', '0', '1', '5', '-1', '1e9', '1.5', '0,1,2,3', '9'.repeat(19), 'user::rw-,group::r--,other::---', 'd/a'), fc.string({ maxLength: 60, unit: 'binary' }));

const memberFields = fc.record(
  {
    name: names,
    type: fc.constantFrom('0', '0', '0', '5', '2', '1', '3', '4', '6', '7', 'L', 'K', 'S', 'V', 'M', 'x', 'g', '\0', 'Z'),
    mode: fc.nat(0o7777),
    uid: fc.nat(100_000),
    mtime: fc.nat(2 ** 31),
    link: names,
    major: fc.nat(5000),
    minor: fc.nat(5000),
    prefix: fc.constantFrom('', 'p', 'p/q'),
    format: fc.constantFrom('ustar' as const, 'gnu' as const, 'v7' as const),
  },
  { requiredKeys: ['name'] },
);
const parts = fc.array(
  fc.oneof(
    fc.tuple(memberFields, fc.uint8Array({ maxLength: 700 })).map(([fields, data]) => member(fields, Buffer.from(data))),
    fc.tuple(fc.array(fc.tuple(paxKeys, paxValues), { maxLength: 4 }), memberFields).map(([records, fields]) =>
      Buffer.concat([pax(records), member(fields, 'data')])),
  ),
  { maxLength: 8 },
);

/** The same bytes in pieces, as a stream gives them. */
async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Reads a whole archive and puts its members into a hierarchy. */
async function readArchive(bytes: Buffer, pieceSize: number): Promise<TarMember[]> {
  const reader = new TarReader(new ByteSource(inPieces(bytes, pieceSize)), { aclIds: NO_ACL_IDS });
  const hierarchy = new ArchiveHierarchy(1000);
  const members: TarMember[] = [];
  for (let one = await reader.next(); one !== undefined; one = await reader.next()) {
    hierarchy.place(one);
    members.push(one);
    expect(members.length).toBeLessThanOrEqual(bytes.length / 512);
  }
  return members;
}

describe('tar archives', () => {
  test('of any members, changed anywhere, are read or refused by name', { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(parts, changes, fc.boolean(), fc.integer({ min: 1, max: 2000 }), async (all, change, isSealed, pieceSize) => {
        let bytes = changed(archive(...all), change);
        if (isSealed) {
          // With right checksums what stands behind them is reached.
          bytes = Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
          for (let at = 0; at + 512 <= bytes.length; at += 512) if (bytes.toString('latin1', at + 257, at + 262) === 'ustar') seal(bytes.subarray(at, at + 512));
        }
        const members = await orRefusedLater(['BAD_ARCHIVE'], () => readArchive(bytes, pieceSize));
        for (const { path } of members ?? []) expect(path.split('/')).not.toContain('..');
      }),
      runs(250),
    );
  });

  test('read the same in pieces of any size', { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(parts, fc.integer({ min: 1, max: 1500 }), async (all, pieceSize) => {
        const bytes = archive(...all);
        const whole = await orRefusedLater(['BAD_ARCHIVE'], () => readArchive(bytes, bytes.length));
        const pieces = await orRefusedLater(['BAD_ARCHIVE'], () => readArchive(bytes, pieceSize));
        expect(pieces).toEqual(whole);
      }),
      runs(100),
    );
  });

  test('import into a store or leave nothing', { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    const paths = temporaryStore();
    await fc.assert(
      fc.asyncProperty(parts, changes, async (all, change) => {
        const result = await orRefusedLater(['BAD_ARCHIVE', 'NO_SPACE'], () =>
          importTar(paths, Readable.from([changed(archive(...all), change)]), { maxBytes: 1 << 20, maxHoleBytes: 1 << 24, maxEntries: 1000 }));
        if (result !== undefined) {
          for (const line of dump(paths, result.tree)) expect(line.split(' ')[0]?.split('/')).not.toContain('..');
        }
      }),
      runs(3),
    );
  });

  test('made by GNU tar of any folder come out as it was', { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    const paths = temporaryStore();
    const fileNames = fc.string({ minLength: 1, maxLength: 40 }).filter((name) => !name.includes('/') && !name.includes('\0') && name !== '.' && name !== '..');
    const folder = fc.dictionary(fileNames, fc.oneof(fc.uint8Array({ maxLength: 3000 }), fc.constant('folder'), fileNames), { maxKeys: 6 });
    await fc.assert(
      fc.asyncProperty(folder, fc.constantFrom('posix', 'gnu', 'ustar'), async (entries, format) => {
        const at = join(temporaryFolder(), 'tree');
        mkdirSync(at);
        for (const [name, content] of Object.entries(entries)) {
          if (content === 'folder') mkdirSync(join(at, name));
          else if (typeof content === 'string') symlinkSync(content, join(at, name));
          else writeFileSync(join(at, name), content);
        }
        shell('tar --format="$3" --numeric-owner -C "$1" -cf "$2" .', at, `${at}.tar`, format);
        const result = await importTar(paths, Readable.from([readFileSync(`${at}.tar`)]));
        const lines = dump(paths, result.tree);
        expect(lines.length).toBe(Object.keys(entries).length + 1);
      }),
      runs(5),
    );
  });
});

describe('parts of archives', () => {
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.array(fc.tuple(paxKeys, paxValues), { maxLength: 6 }).map((all) => Buffer.concat(all.map(([key, value]) => record(key, value))))).map((one) => Buffer.from(one));

  test('PAX records are read or refused, and come back as they were written', () => {
    fc.assert(fc.property(bytes, changes, (all, change) => void orBroken(() => parsePaxRecords(changed(all, change), refuse))), runs(500));
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[A-Za-z.]{1,30}$/), fc.uint8Array({ maxLength: 50 }), { maxKeys: 5 }), (all) => {
        const read = parsePaxRecords(formatPaxProbe(all), refuse);
        for (const [key, value] of Object.entries(all)) {
          if (!key.startsWith('GNU.sparse.')) expect(read.values.get(key)).toEqual(Buffer.from(value));
        }
      }),
      runs(200),
    );
  });

  test('xattrs and ACLs are read or refused', () => {
    fc.assert(
      fc.property(bytes, fc.constantFrom(0o100000, 0o040000, 0o120000), (all, type) => {
        const records = orBroken(() => parsePaxRecords(all, refuse));
        if (records === undefined) return;
        const found = orBroken(() => memberXattrs(records, type, { aclIds: NO_ACL_IDS }, refuse));
        for (const { name } of found?.xattrs ?? []) expect(name.startsWith('trusted.templatefs.')).toBe(false);
      }),
      runs(300),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (all) => void orBroken(() => checkAcl(Buffer.from(all), refuse))), runs(300));
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 80 }), fc.stringMatching(/^((user|group|mask|other|default|u|g):[a-z0-9]{0,4}:[rwx-]{0,4}[,\n#]?){0,6}$/)), (text) =>
        void orBroken(() => checkAcl(parseAclText(text, NO_ACL_IDS, refuse), refuse))),
      runs(300),
    );
  });

  test('numbers are safe integers or none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 12 }), fc.string({ maxLength: 25 }), (field, text) => {
        for (const number of [parseTarNumber(Buffer.from(field)), parsePaxInteger(Buffer.from(text))]) {
          if (number !== undefined) expect(Number.isSafeInteger(number)).toBe(true);
        }
        const time = parsePaxTime(Buffer.from(text));
        if (time !== undefined) expect(time.nanoseconds >= 0 && time.nanoseconds < 1_000_000_000 && Number.isSafeInteger(time.seconds)).toBe(true);
      }),
      runs(500),
    );
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), fc.nat(999_999_999), (seconds, nanoseconds) => {
        const total = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
        const magnitude = total < 0n ? -total : total;
        const text = `${total < 0n ? '-' : ''}${magnitude / 1_000_000_000n}.${String(magnitude % 1_000_000_000n).padStart(9, '0')}`;
        expect(parsePaxTime(Buffer.from(text))).toEqual({ seconds: seconds + 0, nanoseconds });
      }),
      runs(500),
    );
  });

  test('an end of zeros is the end', async () => {
    expect(await readArchive(END, 512)).toEqual([]);
  });
});
