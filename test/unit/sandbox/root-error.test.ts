import { expect, test } from 'vitest';
import { rootError } from '../../../src/sandbox/root-error.js';

test('a root whose engine has ended is told from one that is not mounted', () => {
  expect(rootError('/r', Object.assign(new Error('gone'), { code: 'ENOTCONN' }))).toMatchObject({ code: 'ENGINE_FAILED', message: 'cannot enter /r: ENOTCONN' });
  expect(rootError('/r', Object.assign(new Error('none'), { code: 'ENOENT' }))).toMatchObject({ code: 'FAILED', hint: expect.stringContaining('mount') as string });
});
