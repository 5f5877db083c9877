import { describe, expect, test } from 'vitest';
import { idMapArguments, parseIdMaps, parseIdRange } from '../../../src/core/id-map.js';
import { isSharedPath, parseSharedPaths, sharedPathsOption, sharedPathValues } from '../../../src/core/shared-paths.js';

const range = (container: number, host: number, size: number): object => ({ container, host, size });

describe('maps of ids', () => {
  test('one option counts for users and groups; one of the other two alone for both, as with podman', () => {
    const both = { uids: [range(0, 100_000, 65_536)], gids: [range(0, 100_000, 65_536)] };
    expect(parseIdMaps({ idmap: ['0:100000:65536'] })).toEqual(both);
    expect(parseIdMaps({ uidmap: ['0:100000:65536'] })).toEqual(both);
    expect(parseIdMaps({ gidmap: ['0:100000:65536'] })).toEqual(both);
    const apart = parseIdMaps({ uidmap: ['0:1:2', '2:9:1'], gidmap: ['0:5:6'] });
    expect(apart).toEqual({ uids: [range(0, 1, 2), range(2, 9, 1)], gids: [range(0, 5, 6)] });
    expect(apart && idMapArguments(apart)).toEqual(['--uid-map', '0:1:2', '--uid-map', '2:9:1', '--gid-map', '0:5:6']);
    expect(parseIdMaps({ idmap: ['none'] })).toBeNull();
    expect(parseIdMaps({})).toBeUndefined();
  });

  test.each(['', '0', '0:1', '0:1:0', '0:1:2:3', '-1:0:1', '0:4294967295:1', '4294967294:0:2', '0:1:99999999999', ' 0:1:2', '0x1:2:3'])('%j is no range', (text) => {
    expect(parseIdRange(text)).toBeUndefined();
    expect(() => parseIdMaps({ idmap: [text] })).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });

  test('ranges must not overlap, on neither side, and options not contradict one another', () => {
    for (const options of [
      { idmap: ['0:100:10', '9:200:1'] },
      { idmap: ['0:100:10', '10:109:1'] },
      { idmap: ['0:1:1'], uidmap: ['0:1:1'] },
      { idmap: ['none', '0:1:1'] },
      { uidmap: Array.from({ length: 341 }, (_, index) => `${index}:${index}:1`) },
    ]) {
      expect(() => parseIdMaps(options), JSON.stringify(options).slice(0, 80)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    }
  });
});

describe('shared paths', () => {
  test('are absolute and plain; none stands for no path', () => {
    expect(parseSharedPaths(['/usr', '/opt/', '/', '/usr'])).toEqual(['/usr', '/opt', '/']);
    expect(parseSharedPaths(['none'])).toEqual([]);
    expect(sharedPathValues([])).toEqual(['none']);
    expect(sharedPathValues(null)).toEqual([]);
    expect(sharedPathsOption(undefined)).toBeUndefined();
    for (const bad of ['usr', '', '/a/../b', '/./a', '/a//b', '//']) expect(isSharedPath(bad), bad).toBe(false);
    expect(() => sharedPathsOption(['none', '/usr'])).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
