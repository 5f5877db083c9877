import { describe, expect, test } from 'vitest';
import { keptLabels, settingsOf } from '../../../src/snapshotter/labels.js';
import { Turns } from '../../../src/snapshotter/turns.js';
import { STATUS, StatusError, statusOf } from '../../../src/snapshotter/status.js';
import { TemplatefsError } from '../../../src/core/errors.js';

describe('labels', () => {
  test('are kept but for empty ones', () => {
    expect([...keptLabels({ a: '1', b: '' })]).toEqual([['a', '1']]);
    expect(() => keptLabels({ a: 'x'.repeat(4096) })).toThrow(expect.objectContaining({ code: STATUS.invalidArgument }));
  });

  test('say what a container is made with', () => {
    const labels = new Map([
      ['containerd.io/snapshot/uidmapping', '0:1000:10,10:5000:10'], ['containerd.io/snapshot/gidmapping', '0:2000:10'], ['containerd.io/snapshot/max-size', '10M'],
      ['containerd.io/snapshot/templatefs.shared-paths', '/usr,/srv/app/'],
    ]);
    expect(settingsOf(labels)).toEqual({
      ids: { uids: [{ container: 0, host: 1000, size: 10 }, { container: 10, host: 5000, size: 10 }], gids: [{ container: 0, host: 2000, size: 10 }] },
      quotaSizeBytes: 10 * 1024 * 1024,
      shared: ['/usr', '/srv/app'],
    });
    expect(settingsOf(new Map([['containerd.io/snapshot/templatefs.shared-paths', 'none']])).shared).toEqual([]);
    expect(settingsOf(new Map())).toEqual({ ids: null });
    for (const [name, value] of [['uidmapping', '0:1'], ['max-size', 'much'], ['templatefs.shared-paths', 'usr']] as const) {
      const code = (() => {
        try {
          return settingsOf(new Map([[`containerd.io/snapshot/${name}`, value]]));
        } catch (error) {
          return statusOf(error).code;
        }
      })();
      expect(code, name).toBe(STATUS.invalidArgument);
    }
  });
});

describe('answers', () => {
  test.each([
    [new StatusError(STATUS.notFound, 'no'), STATUS.notFound, 'no'],
    [new TemplatefsError('BUSY', 'in use', { hint: 'wait' }), STATUS.unavailable, 'BUSY: in use (wait)'],
    [new TemplatefsError('NO_SPACE', 'full'), STATUS.resourceExhausted, 'NO_SPACE: full'],
    [new TemplatefsError('INTEGRITY', 'broken'), STATUS.internal, 'INTEGRITY: broken'],
    [Object.assign(new Error('write'), { code: 'ENOSPC', path: '/x' }), STATUS.resourceExhausted, expect.stringMatching(/^NO_SPACE: /) as string],
    [new Error('bug'), STATUS.internal, 'bug'],
  ])('%s', (error, code, details) => {
    expect(statusOf(error)).toEqual({ code, details });
  });
});

test('what concerns one snapshot happens one after the other, also after a failure', async () => {
  const turns = new Turns();
  const said: string[] = [];
  const work = (id: number, name: string, fails = false) => turns.take(id, async () => {
    said.push(`${name} begins`);
    await new Promise((done) => setTimeout(done, 5));
    said.push(`${name} ends`);
    if (fails) throw new Error(name);
  });
  const all = await Promise.allSettled([work(1, 'a', true), work(1, 'b'), work(2, 'c')]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  expect(said.filter((line) => !line.startsWith('c'))).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
  expect(said.indexOf('c begins')).toBeLessThan(said.indexOf('a ends'));
});
