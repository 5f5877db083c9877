import { describe, expect, test } from 'vitest';
import { formatContainerFile, parseContainerFile, type ContainerFile } from '../../../src/catalog/container-file.js';
import { formatTemplateFile, parseTemplateFile, type TemplateFile } from '../../../src/catalog/template-file.js';
import { parseImageConfig } from '../../../src/core/image-config.js';
import { DIGEST } from './temporary-store.js';

const CONTAINER: ContainerFile = {
  name: 'c1',
  template: 'debian-12-x86_64',
  tree: DIGEST,
  created: '2026-11-22T08:00:00.000Z',
  shared: ['/usr', '/opt/ä%b\n'],
  ids: { uids: [{ container: 0, host: 100_000, size: 65_536 }, { container: 70_000, host: 1000, size: 1 }], gids: [{ container: 0, host: 5, size: 6 }] },
  quotaSizeBytes: 10 * 1024 ** 3,
  other: [{ key: 'later', value: 'kept as it is' }],
};

const HEAD = `templatefs-container 1\nname c\ntemplate t\ncreated x\ntree ${DIGEST}\n`;

describe('container file', () => {
  test('is read back as it was', () => {
    const text = formatContainerFile(CONTAINER);
    expect(text).toMatch(/^templatefs-container 1\nname c1\n/);
    expect(text).toContain('shared /opt/%C3%A4%25b%0A\n');
    expect(text).toContain('uid-map 0 100000 65536\nuid-map 70000 1000 1\ngid-map 0 5 6\n');
    expect(parseContainerFile(text, 'f')).toEqual(CONTAINER);
    for (const shared of [null, []]) {
      const other = { ...CONTAINER, shared, ids: null };
      expect(parseContainerFile(formatContainerFile(other), 'f')).toEqual(other);
    }
  });

  test.each([
    ['another file', 'something 1\n', /not a container file/],
    ['a newer version', 'templatefs-container 2\n', /version 2/],
    ['nothing', '', /not a container file/],
    ['a file that is cut short', 'templatefs-container 1\nname c', /line 2: the file is cut short/],
    ['a missing line', 'templatefs-container 1\nname c1\n', /no line for template|no line for tree/],
    ['a second name', 'templatefs-container 1\nname c1\nname c2\n', /two lines for name/],
    ['a tree that is a path', `templatefs-container 1\nname c\ntemplate t\ncreated x\ntree ../x\n`, /tree is no digest/],
    ['a shared path that is none', `${HEAD}shared usr\n`, /shared has no absolute path/],
    ['none among shared paths', `${HEAD}shared /usr\nshared none\n`, /shared has no absolute path/],
    ['a map of users alone', `${HEAD}uid-map 0 1 1\n`, /maps for users or for groups/],
    ['ranges that overlap', `${HEAD}uid-map 0 1 2\nuid-map 1 9 1\ngid-map 0 1 1\n`, /uid-map are no map of ids/],
    ['a broken escape', 'templatefs-container 1\nname %4\n', /line 2: a % without two hex digits/],
  ])('refuses %s', (_what, text, message) => {
    expect(() => parseContainerFile(text, 'private/c1/container')).toThrow(
      expect.objectContaining({ code: 'INTEGRITY', message: expect.stringMatching(message) as string }),
    );
    expect(() => parseContainerFile(text, 'private/c1/container')).toThrow(/private\/c1\/container/);
  });
});

describe('template file', () => {
  const template: TemplateFile = {
    name: 'debian',
    version: 3,
    tree: DIGEST,
    files: 12,
    bytes: 2 ** 40,
    created: '2026-11-22T08:00:00.000Z',
    source: 'folder /srv/ä b',
    definition: '{"name":"debian","flavors":[]}',
    shared: ['/usr', '/srv/app'],
  };

  test('is read back as it was', () => {
    expect(parseTemplateFile(formatTemplateFile(template), 'f')).toEqual(template);
    const imported = { ...template, definition: null, shared: null };
    expect(parseTemplateFile(formatTemplateFile(imported), 'f')).toEqual(imported);
    const image = parseImageConfig({ os: 'linux', architecture: 'amd64', config: { Entrypoint: ['/ä b', '%41'], Env: ['A=\n'], Labels: { k: 'v' } } });
    expect(parseTemplateFile(formatTemplateFile({ ...imported, image }), 'f')).toEqual({ ...imported, image });
  });

  test('refuses a version 0, a definition that is no JSON, an image that is none', () => {
    const text = formatTemplateFile(template);
    for (const image of ['{', '[]', '{"config":{"Env":["=x"]}}']) expect(() => parseTemplateFile(`${text}image ${image}\n`, 'f')).toThrow(/no valid line for image/);
    expect(() => parseTemplateFile(formatTemplateFile({ ...template, version: 0 }), 'f')).toThrow(/version/);
    expect(() => parseTemplateFile(formatTemplateFile({ ...template, definition: '{' }), 'f')).toThrow(/definition/);
  });
});
