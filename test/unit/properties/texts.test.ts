import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatContainerFile, parseContainerFile } from '../../../src/catalog/container-file.js';
import { rebuildCatalog } from '../../../src/catalog/rebuild.js';
import { formatTemplateFile, parseTemplateFile } from '../../../src/catalog/template-file.js';
import { formatIdRange, idMapProblem, parseIdMaps, parseIdRange } from '../../../src/core/id-map.js';
import { formatKeyValues, parseKeyValues } from '../../../src/core/key-value-text.js';
import { checkContainerName } from '../../../src/core/names.js';
import { parseSharedPaths } from '../../../src/core/shared-paths.js';
import { formatSize, parseSize } from '../../../src/core/sizes.js';
import { decodeFrame, encodeFrame } from '../../../src/engine/control-client.js';
import { parseEngineFile } from '../../../src/engine/engine-state.js';
import { ScanParser } from '../../../src/engine/scan.js';
import { loadDefinition } from '../../../src/templates/load-definition.js';
import { DIGEST, temporaryStore } from '../catalog/temporary-store.js';
import { temporaryFolder } from '../store/temporary-store.js';
import { changed, changes, orRefused, orRefusedLater, PROPERTY_TIMEOUT_MS, runs } from './property.js';

const keys = fc.oneof(
  fc.constantFrom('name', 'template', 'tree', 'created', 'shared', 'uid-map', 'gid-map', 'quota-size', 'quota-inodes', 'definition', 'version', 'files', 'bytes', 'source',
    'holder', 'worker', 'mountpoint', 'boot', 'passthrough', 'connection', 'constructor'),
  fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/),
);
const values = fc.oneof(fc.constantFrom('', '1', '0', '/usr', 'none', '0 100000 65536', DIGEST, '-1', '1e3', '{}', '{"a":[]}'), fc.string({ maxLength: 30, unit: 'binary' }));
const lines = fc.array(fc.record({ key: keys, value: values }), { maxLength: 14 });
const range = fc.record({ container: fc.nat(1_000_000), host: fc.nat(1_000_000), size: fc.integer({ min: 1, max: 70_000 }) });

describe('the small files of a store', () => {
  test('lines of keys and values come back as they were', () => {
    fc.assert(fc.property(lines, (all) => {
      expect(parseKeyValues(formatKeyValues(all), { file: 'x', errorCode: 'INTEGRITY' })).toEqual(all);
    }), runs(500));
  });

  test.each([
    ['templatefs-container', (text: string) => parseContainerFile(text, 'x')],
    ['templatefs-template', (text: string) => parseTemplateFile(text, 'x')],
  ] as const)('%s: any lines, changed anywhere, are read or refused', (magic, parse) => {
    fc.assert(
      fc.property(lines, changes, fc.boolean(), (all, change, isWhole) => {
        const text = formatKeyValues([{ key: magic, value: '1' }, ...all]);
        const given = isWhole ? text : changed(Buffer.from(text), change).toString('utf8');
        orRefused(['INTEGRITY', 'BAD_CATALOG'], () => parse(given));
      }),
      runs(500),
    );
  });

  test('the state file of an engine, changed anywhere, is read or refused', () => {
    const whole = 'holder 12\nworker 13\nmountpoint /mnt/a%20b\nboot 0a0a\npassthrough no: REASON\nconnection 5\nuid-map 0 1 2\ngid-map 0 1 2\n';
    expect(parseEngineFile(whole, 'x').mountpoint).toBe('/mnt/a b');
    fc.assert(
      fc.property(lines, changes, (all, change) => {
        try {
          parseEngineFile(changed(Buffer.from(whole + formatKeyValues(all)), change).toString('utf8'), 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect(error).not.toBeInstanceOf(TypeError);
        }
      }),
      runs(300),
    );
  });

  test('container and template files come back as they were', () => {
    const file = fc.record({
      name: fc.stringMatching(/^[a-z0-9]{1,20}$/), template: fc.stringMatching(/^[a-z0-9]{1,20}$/), tree: fc.constant(DIGEST), created: fc.string({ minLength: 1, maxLength: 30 }),
      shared: fc.constantFrom(null, [], ['/usr'], ['/', '/opt']), ids: fc.option(range.map((one) => ({ uids: [one], gids: [one] }))),
      other: fc.constant([]),
    });
    fc.assert(fc.property(file, (one) => {
      expect(parseContainerFile(formatContainerFile(one), 'x')).toEqual(one);
    }), runs(200));
    const template = fc.record({
      name: fc.stringMatching(/^[a-z0-9]{1,20}$/), version: fc.integer({ min: 1, max: 1000 }), tree: fc.constant(DIGEST), files: fc.nat(), bytes: fc.nat(),
      created: fc.string({ minLength: 1, maxLength: 30 }), source: fc.string({ minLength: 1, maxLength: 30 }), definition: fc.option(fc.json()), shared: fc.constantFrom(null, [], ['/usr']),
    });
    fc.assert(fc.property(template, (one) => {
      expect(parseTemplateFile(formatTemplateFile(one), 'x')).toEqual(one);
    }), runs(200));
  });

  test('a catalog is rebuilt whatever the files say', { timeout: PROPERTY_TIMEOUT_MS }, () => {
    fc.assert(
      fc.property(lines, lines, changes, (container, template, change) => {
        const paths = temporaryStore();
        writeFileSync(paths.tree(DIGEST), '');
        mkdirSync(paths.privateArea('c1'), { recursive: true });
        const text = (magic: string, all: typeof container): Buffer => changed(Buffer.from(formatKeyValues([{ key: magic, value: '1' }, ...all])), change);
        writeFileSync(paths.containerFile('c1'), text('templatefs-container', container));
        writeFileSync(paths.templateRecord('t1'), text('templatefs-template', template));
        const result = orRefused(['INTEGRITY', 'BAD_CATALOG'], () => rebuildCatalog({ paths, treeSummary: () => ({ files: 1, bytes: 1 }), mountpointOf: () => null }));
        expect(result).toBeDefined();
      }),
      runs(10),
    );
  });
});

describe('what users write', () => {
  test('sizes are bytes or refused', () => {
    fc.assert(fc.property(fc.oneof(fc.string({ maxLength: 20 }), fc.stringMatching(/^[0-9.]{1,18} ?[kKmMgGtTpP]?(i?[bB])?$/)), (text) => {
      const bytes = orRefused(['USAGE'], () => parseSize(text));
      if (bytes !== undefined) expect(Number.isSafeInteger(bytes) && bytes >= 0).toBe(true);
    }), runs(500));
    fc.assert(fc.property(fc.nat(2 ** 50), (bytes) => {
      expect(parseSize(String(bytes))).toBe(bytes);
      expect(Math.abs(parseSize(formatSize(bytes)) - bytes)).toBeLessThanOrEqual(bytes * 0.01 + 1);
    }), runs(500));
  });

  test('id maps are whole and do not overlap, or are refused', () => {
    fc.assert(fc.property(fc.string({ maxLength: 40 }), (text) => {
      const one = parseIdRange(text);
      if (one !== undefined) expect(one.size > 0 && one.container + one.size <= 2 ** 32 - 1 && one.host + one.size <= 2 ** 32 - 1).toBe(true);
    }), runs(300));
    fc.assert(fc.property(fc.array(range, { minLength: 1, maxLength: 6 }), (ranges) => {
      for (const one of ranges) expect(parseIdRange(formatIdRange(one))).toEqual(one);
      const maps = orRefused(['USAGE'], () => parseIdMaps({ idmap: ranges.map((one) => formatIdRange(one)) }));
      expect(maps === undefined).toBe(idMapProblem(ranges) !== undefined);
    }), runs(300));
  });

  test('names of containers stay in their folder; shared paths are paths', () => {
    fc.assert(fc.property(fc.string({ maxLength: 140, unit: 'binary' }), (text) => {
      const name = orRefused(['USAGE'], () => checkContainerName(text));
      if (name !== undefined) expect(name).toMatch(/^[A-Za-z0-9][^/\0]*$/);
      for (const path of parseSharedPaths([text]) ?? []) expect(path.startsWith('/') && !path.split('/').includes('..')).toBe(true);
    }), runs(500));
  });
});

describe('what the engine says', () => {
  test('frames come back as they were, and any bytes are a frame, a part of one, or an error', () => {
    fc.assert(fc.property(fc.array(fc.string({ maxLength: 20 }).filter((text) => !text.includes('\0')), { minLength: 1, maxLength: 6 }), changes, (fields, change) => {
      expect(decodeFrame(encodeFrame(fields))).toEqual(fields);
      try {
        decodeFrame(changed(encodeFrame(fields), change));
      } catch (error) {
        expect((error as Error).message).toMatch(/frame|field/);
      }
    }), runs(500));
  });

  test('records of a scan in any pieces are read the same; other bytes are an error', () => {
    const text = ['file', '/a', '5', '100644 0 0', '3', '4096', '1.000000001', '-', '-', '1', '', 'dir', '/b', '6', '40755 0 0', '0', '0', '1.000000001', '3', '-', '2', '', ''].join('\0');
    const read = (bytes: Buffer, size: number): unknown[] => {
      const records: unknown[] = [];
      const parser = new ScanParser({ onRecord: (one) => records.push(one) });
      for (let at = 0; at < bytes.length; at += size) parser.push(bytes.subarray(at, at + size));
      parser.end();
      return records;
    };
    expect(read(Buffer.from(text), 1000)).toHaveLength(2);
    fc.assert(fc.property(fc.integer({ min: 1, max: 60 }), changes, (size, change) => {
      expect(read(Buffer.from(text), size)).toEqual(read(Buffer.from(text), 1000));
      try {
        read(changed(Buffer.from(text), change), size);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(TypeError);
        expect(error).not.toBeInstanceOf(RangeError);
      }
    }), runs(300));
  });
});

describe('template definitions', () => {
  const files = fc.dictionary(
    fc.constantFrom('package_manager', 'packages', 'packages0', 'packages1', 'repositories', 'mirrorlist', 'distribution', 'summary', 'description', 'environment', 'shared_paths',
      'osrelease', 'upgradable_versions', 'pre-cache', 'post-cache', 'keys', 'version', 'nothing-known'),
    fc.oneof(fc.constantFrom('apt\n', 'debian\n', '$DEB_MIRROR bookworm main\n', 'A=b\n', '/usr\nnone\n', '../../etc/passwd\n', '#!/bin/sh\n', '# x\n\n', ''), fc.string({ maxLength: 60, unit: 'binary' })),
    { maxKeys: 10 },
  );
  test('any files are read or refused by file and line', { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(files, files, async (os, flavor) => {
        const top = temporaryFolder();
        const folder = join(top, 'debian-12-x86_64');
        for (const [place, all] of [[join(folder, 'os'), os], [join(folder, 'os-flavor'), flavor]] as const) {
          mkdirSync(place, { recursive: true });
          for (const [name, text] of Object.entries(all)) writeFileSync(join(place, name), text);
        }
        await orRefusedLater(['BAD_DEFINITION', 'TEMPLATE_NOT_FOUND'], () => loadDefinition('debian-12-x86_64', { searchPath: [top] }));
      }),
      runs(30),
    );
  });
});
