import { describe, expect, test, vi } from 'vitest';
import { checkVersionLine, findEngine } from '../../../src/engine/engine-binary.js';
import { engineError, engineExitError, runEngine } from '../../../src/engine/run-engine.js';
import { VERSION_LINE, scriptEngine } from './script-engine.js';

describe('the version line', () => {
  test('of the same protocol is accepted', () => {
    expect(() => { checkVersionLine(`${VERSION_LINE}\n`, '/e'); }).not.toThrow();
    expect(() => { checkVersionLine(VERSION_LINE.replace('0.1.0', '9.9.9'), '/e'); }).not.toThrow();
  });

  test.each([VERSION_LINE.replace('protocol 1', 'protocol 2'), VERSION_LINE.replace('tree 1', 'tree 2'), 'something else', ''])('%j is refused', (line) => {
    expect(() => { checkVersionLine(line, '/e'); }).toThrow(
      expect.objectContaining({ code: 'ENGINE_MISMATCH', hint: expect.stringContaining('npm run build') as string }),
    );
  });
});

describe('findEngine', () => {
  test('says how to build one that is not there', async () => {
    vi.stubEnv('TEMPLATEFS_ENGINE', '/nonexistent/engine');
    await expect(findEngine()).rejects.toMatchObject({ code: 'ENGINE_FAILED', hint: 'build it: npm run setup' });
  });
});

describe('engineExitError', () => {
  test('takes the code of the error line', () => {
    expect(engineExitError('mount', 11, null, 'noise\ntemplatefs-engine: BUSY: c1 is served by pid 7\n')).toMatchObject({
      code: 'BUSY',
      message: 'c1 is served by pid 7',
    });
  });

  test('without one says how the engine ended', () => {
    expect(engineExitError('scan', 13, null, '')).toMatchObject({ code: 'FUSE_UNAVAILABLE' });
    expect(engineExitError('scan', 1, null, 'oops')).toMatchObject({ code: 'ENGINE_FAILED', message: 'templatefs-engine scan ended with status 1: oops' });
    expect(engineExitError('scan', null, 'SIGSEGV', '')).toMatchObject({ message: 'templatefs-engine scan ended by SIGSEGV' });
  });
});

describe('runEngine', () => {
  test('gives what the engine writes, and the input to it', async () => {
    scriptEngine('echo "$@"; cat');
    let output = '';
    await runEngine({ verb: 'scan', arguments: ['--store', '/s p'], input: Buffer.from('in'), onOutput: (piece) => { output += piece.toString(); } });
    expect(output).toBe('scan --store /s p\nin');
  });

  test('does not wait for what a mount leaves behind with its pipes open', async () => {
    scriptEngine('sleep 3 & exit 0');
    const started = performance.now();
    await runEngine({ verb: 'mount', arguments: [] });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test('throws what the error line of a mount says', async () => {
    scriptEngine('echo "templatefs-engine: INTEGRITY: inos is broken" >&2; exit 12');
    await expect(runEngine({ verb: 'mount', arguments: [] })).rejects.toMatchObject({ code: 'INTEGRITY', message: 'inos is broken' });
  });

  test('ends the engine when the user gives up', async () => {
    scriptEngine('sleep 60');
    const controller = new AbortController();
    setTimeout(() => { controller.abort(new Error('enough')); }, 100);
    await expect(runEngine({ verb: 'mount', arguments: [], signal: controller.signal })).rejects.toThrow('enough');
  });
});

test('an engine one process of which has been killed is ENGINE_FAILED', () => {
  expect(engineError('FAILED', 'Broken pipe')).toMatchObject({ code: 'ENGINE_FAILED', hint: 'run the command again' });
  expect(engineError('FAILED', 'File exists')).toMatchObject({ code: 'FAILED', message: 'File exists' });
});
