import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { formatContainerFile } from '../../../src/catalog/container-file.js';
import { linkPolicyOf, policyKey } from '../../../src/service/link-policy.js';
import { DIGEST, temporaryStore } from '../catalog/temporary-store.js';

const CONTAINER = formatContainerFile({ name: 'c1', template: 't', tree: DIGEST, created: '2026-01-01T00:00:00.000Z', shared: null, ids: null, other: [] });

test('options of the command come before lines of the container, those before lines of the store', () => {
  const paths = temporaryStore();
  const file = paths.containerFile('c1');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, CONTAINER);
  expect(linkPolicyOf({ paths }, 'c1', {})).toEqual({ leastBytes: 1, greatestBytes: null, paths: null, leastAgeSeconds: 0, bytesPerSecond: 0, threads: 0 });
  writeFileSync(paths.config, 'templatefs-store 1\nlink-least 10\nlink-greatest 1000\nlink-age 60\nlink-rate 5000\nlink-threads 1\nlink-path /usr\n');
  const ofStore = linkPolicyOf({ paths }, 'c1', {});
  expect(ofStore).toEqual({ leastBytes: 10, greatestBytes: 1000, paths: ['/usr'], leastAgeSeconds: 60, bytesPerSecond: 5000, threads: 1 });
  writeFileSync(file, `${CONTAINER}link-least 20\nlink-path /opt/\nlink-path /srv\n`);
  const own = linkPolicyOf({ paths }, 'c1', {});
  expect(own).toEqual({ ...ofStore, leastBytes: 20, paths: ['/opt', '/srv'] });
  expect(linkPolicyOf({ paths }, 'c1', { leastBytes: 30, ageSeconds: 0 })).toEqual({ ...own, leastBytes: 30, leastAgeSeconds: 0 });
  // What was looked for decides whether a look from before still counts; how fast it was done does not.
  expect(policyKey(own)).not.toBe(policyKey(ofStore));
  expect(policyKey({ ...own, bytesPerSecond: 1, threads: 2 })).toBe(policyKey(own));
});

test.each(['link-least many', 'link-rate -1', 'link-path usr', 'link-age 1.5'])('a line that is wrong is named: %s', (line) => {
  const paths = temporaryStore();
  const file = paths.containerFile('c1');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${CONTAINER}${line}\n`);
  expect(() => linkPolicyOf({ paths }, 'c1', {})).toThrow(expect.objectContaining({ code: 'INTEGRITY', message: expect.stringContaining(line.split(' ')[0] ?? '') as string }));
});
