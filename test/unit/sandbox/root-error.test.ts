import { expect, test } from 'vitest';
import { rootError } from '../../../src/sandbox/root-error.js';

test('a root whose engine has ended, and that may be cleared away by now, is told from other errors', () => {
  const errorOf = (code: string): Error => Object.assign(new Error(code), { code });
  for (const code of ['ENOTCONN', 'ENOENT']) expect(rootError('/r', errorOf(code))).toMatchObject({ code: 'ENGINE_FAILED', message: `cannot enter /r: ${code}` });
  expect(rootError('/r', errorOf('EIO'))).toMatchObject({ code: 'FAILED' });
});
