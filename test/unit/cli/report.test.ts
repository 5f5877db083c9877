import { expect, test } from 'vitest';
import { formatPrometheus } from '../../../src/cli/report/prometheus.js';
import { renderStatisticsPage } from '../../../src/cli/report/statistics-page.js';
import type { Statistics } from '../../../src/service/statistics.js';

const container = (name: string): Statistics['containers'][number] => ({
  name, logicalBytes: 30, templateBytes: 10, linkedBytes: 15, ownBytes: 5, privateBytes: 4096, privateFiles: 1, links: 2,
  counted: '2026-11-22T08:00:00.000Z', memory: { residentBytes: 8192, proportionalBytes: 4096 },
});

const STATISTICS: Statistics = {
  disk: {
    logicalBytes: 60, storedBytes: 40, objectBytes: 10, treeBytes: 5, privateBytes: 20, snapshotBytes: 5, templateBytes: 20, linkedBytes: 30,
    ownBytes: 10, savedBytes: 20, ratio: 1.5,
  },
  memory: { residentBytes: 8192, withoutSharingBytes: 16384, savedBytes: 8192, byContainers: [{ containers: 2, objects: 1, residentBytes: 8192 }] },
  containers: [container('a'), container('b"\\\n<')],
};

/** What `promtool check metrics` asks for. */
test('metrics are well formed: HELP, TYPE, then samples of that name; one family once; units and base units', () => {
  const text = formatPrometheus(STATISTICS);
  expect(text.endsWith('\n')).toBe(true);
  const seen = new Set<string>();
  let current = '';
  let expects: 'HELP' | 'TYPE' | 'sample' = 'HELP';
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, name, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === 'HELP') {
      expect(expects).not.toBe('TYPE');
      expect(seen.has(name ?? ''), name).toBe(false);
      seen.add(name ?? '');
      current = name ?? '';
      expect(current).toMatch(/^templatefs_[a-z_]+$/);
      expect(current).not.toMatch(/_(total|kilobytes|milliseconds|count|sum|bucket|gauge)$/);
      expects = 'TYPE';
    } else if (kind === 'TYPE') {
      expect([expects, name, rest]).toEqual(['TYPE', current, 'gauge']);
      expects = 'sample';
    } else {
      expect(expects).toBe('sample');
      const [, metric] = /^([a-z_]+)(?:\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"\})? \d+(?:\.\d+)?$/.exec(line) ?? [line];
      expect(metric).toBe(current);
    }
  }
  expect(seen.size).toBeGreaterThan(10);
  expect(text).toContain('templatefs_container_links{container="b\\"\\\\\\n<"} 2\n');
});

test('what nobody has looked at is left out', () => {
  const text = formatPrometheus({ ...STATISTICS, memory: null, containers: [], disk: { ...STATISTICS.disk, ratio: null } });
  expect(text).not.toMatch(/page_cache|container_|ratio|NaN|null/);
  expect(text).toContain('templatefs_containers 0\n');
});

test('the page escapes names and needs nothing from elsewhere', () => {
  const sample = { taken: '2026-11-22T08:00:00.000Z', reason: 'stats' as const, containers: 2, logicalBytes: 60, storedBytes: 40, objectBytes: 10, privateBytes: 20, linkedBytes: 30, residentBytes: null, withoutSharingBytes: null };
  const file = { container: 'a', path: '/<script>', sizeBytes: 1, allocatedBytes: 4096 };
  const html = renderStatisticsPage({
    store: '/srv/<store>', now: new Date(0), statistics: STATISTICS, samples: [sample, { ...sample, taken: '2026-11-22T09:00:00.000Z', residentBytes: 3 }],
    top: { largestObjects: [], mostSharedObjects: [], mostPrivate: [file], duplicates: [{ sizeBytes: 1, wouldSaveBytes: 1, object: null, files: [file] }] },
  });
  expect(html.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/<script|<store|https?:|src=|NaN|undefined/);
  expect(html.match(/<polyline/g)).toHaveLength(3);
});
