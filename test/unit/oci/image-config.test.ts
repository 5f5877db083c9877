import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatImageConfig, imageCommand, parseImageConfig } from '../../../src/core/image-config.js';
import { resolveUser } from '../../../src/oci/resolve-user.js';

describe('image configuration', () => {
  test('takes what starts a container; nulls, empty texts and fields left out are the same', () => {
    const nothing = { entrypoint: [], cmd: [], env: [], user: null, workdir: null, labels: {}, stopSignal: null, exposedPorts: [], volumes: [], architecture: 'arm64', os: 'linux' };
    expect(parseImageConfig({ architecture: 'arm64', os: 'linux' })).toEqual(nothing);
    expect(
      parseImageConfig({
        architecture: 'arm64', os: 'linux', history: [], rootfs: {},
        config: { Entrypoint: null, Cmd: null, Env: null, User: '', WorkingDir: '', Labels: null, ExposedPorts: null, Volumes: null },
      }),
    ).toEqual(nothing);
    expect(
      parseImageConfig({
        architecture: 'amd64', os: 'linux',
        config: { Entrypoint: ['/e'], Cmd: ['a', ''], Env: ['A=', 'B=c=d'], User: 'www:33', WorkingDir: 'srv', Labels: { l: '' }, StopSignal: 'SIGINT', ExposedPorts: { '80/tcp': {} }, Volumes: { '/v': {} } },
      }),
    ).toEqual({
      entrypoint: ['/e'], cmd: ['a', ''], env: ['A=', 'B=c=d'], user: 'www:33', workdir: '/srv', labels: { l: '' }, stopSignal: 'SIGINT', exposedPorts: ['80/tcp'], volumes: ['/v'], architecture: 'amd64', os: 'linux',
    });
  });

  test.each<[string, unknown, RegExp]>([
    ['a list', [], /no JSON object/],
    ['a config that is a text', { config: 'x' }, /config is no object/],
    ['a variable without a value', { config: { Env: ['X'] } }, /no variable/],
    ['a variable without a name', { config: { Env: ['=X'] } }, /no variable/],
    ['a command that is a text', { config: { Cmd: 'sh -c' } }, /Cmd is no list/],
    ['a command of numbers', { config: { Cmd: [1] } }, /no text/],
    ['a NUL in a word', { config: { Cmd: ['a\0b'] } }, /NUL/],
    ['a NUL in a user', { config: { User: 'a\0b' } }, /NUL/],
    ['labels that are a list', { config: { Labels: ['x'] } }, /Labels is no object/],
    ['very many words', { config: { Cmd: Array.from({ length: 10_001 }, () => '') } }, /more than 10000/],
    ['an architecture that is a number', { architecture: 7 }, /architecture is no text/],
  ])('refuses %s', (_what, image, message) => {
    expect(() => parseImageConfig(image)).toThrow(message);
  });

  test('whatever JSON comes in, it is refused or comes back the same', () => {
    const word = fc.oneof(fc.string(), fc.constant('A=b'), fc.constant('/x'));
    const odd = fc.oneof(fc.constant(null), word, fc.integer());
    const orOdd = <T>(good: fc.Arbitrary<T>): fc.Arbitrary<unknown> => fc.oneof({ weight: 20, arbitrary: good }, { weight: 1, arbitrary: odd });
    const set = orOdd(fc.dictionary(word, fc.constant({})));
    const config = {
      Entrypoint: orOdd(fc.array(word)), Cmd: orOdd(fc.array(word)), Env: orOdd(fc.array(word.map((text) => `V${text}=`))), User: odd, WorkingDir: odd,
      Labels: orOdd(fc.dictionary(word, word)), StopSignal: word, ExposedPorts: set, Volumes: set,
    };
    const image = fc.record({ architecture: word, os: word, config: fc.record(config, { requiredKeys: [] }) });
    let taken = 0;
    fc.assert(
      fc.property(image, (json) => {
        let parsed;
        try {
          parsed = parseImageConfig(json);
        } catch {
          return;
        }
        taken += 1;
        expect(parseImageConfig(JSON.parse(JSON.stringify(formatImageConfig(parsed))))).toEqual(parsed);
      }),
      { numRuns: 1000 },
    );
    expect(taken).toBeGreaterThan(100);
  });

  test('given words take the place of Cmd, not of Entrypoint', () => {
    const config = parseImageConfig({ config: { Entrypoint: ['/e', '-x'], Cmd: ['default'] } });
    expect([imageCommand(config), imageCommand(config, ['given'])]).toEqual([['/e', '-x', 'default'], ['/e', '-x', 'given']]);
  });
});

describe('the user of an image', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n7:x:70:70::/:\nbroken\n:x:1:1::\n';
  const group = 'root:x:0:\nweb:x:34:\nadm:x:4:web,other\ntty:x:5:web\nself:x:34:web\n';

  test.each([
    ['web', { uid: 33, gid: 34, additionalGids: [4, 5] }],
    ['33', { uid: 33, gid: 34, additionalGids: [4, 5] }],
    ['web:adm', { uid: 33, gid: 4, additionalGids: [] }],
    ['web:77', { uid: 33, gid: 77, additionalGids: [] }],
    ['1000', { uid: 1000, gid: 0, additionalGids: [] }],
    ['1000:1000', { uid: 1000, gid: 1000, additionalGids: [] }],
    ['7', { uid: 70, gid: 70, additionalGids: [] }],
    [':tty', { uid: 0, gid: 5, additionalGids: [] }],
    ['root', { uid: 0, gid: 0, additionalGids: [] }],
  ])('%s', (user, wanted) => {
    expect(resolveUser(user, passwd, group)).toEqual(wanted);
  });

  test.each([['nobody', /no user "nobody"/], ['web:none', /no group "none"/], ['4294967295', /no user/], ['-1', /no user/]])('%s is refused', (user, message) => {
    expect(() => resolveUser(user, passwd, group)).toThrow(expect.objectContaining({ code: 'FAILED', message: expect.stringMatching(message) as string }));
  });
});
