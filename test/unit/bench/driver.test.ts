import { expect, test } from 'vitest';
import { parseSample } from '../../../bench/runner/driver.js';

test('the driver\'s line is a time and the work that it did', () => {
  expect(parseSample('{"ns":1200,"files":3,"bytes":77,"digest":"00ff"}\n')).toEqual({ value: 1200, work: { files: 3, bytes: 77 } });
});

test('a line without a time is no sample', () => {
  expect(() => parseSample('{"files":3}')).toThrow('gave no time');
  expect(() => parseSample('{"ns":0}')).toThrow('gave no time');
});
