import { describe, expect, test } from 'vitest';
import { EXIT_STATUS, exitStatusOf } from '../../../src/cli/exit-codes.js';
import { formatError, formatFields, formatJsonError, formatTable } from '../../../src/cli/output.js';
import { formatProgress, progressBar } from '../../../src/cli/progress.js';
import { parseSeconds } from '../../../src/cli/session.js';
import { TemplatefsError } from '../../../src/core/errors.js';

describe('exit statuses', () => {
  test('are those that scripts rely on', () => {
    const byStatus = (status: number): string[] => Object.entries(EXIT_STATUS).filter(([, value]) => value === status).map(([code]) => code).sort();
    expect(byStatus(2)).toEqual(['USAGE']);
    expect(byStatus(3)).toEqual(['PARTIAL']);
    expect(byStatus(10)).toEqual(['CONTAINER_NOT_FOUND', 'PACKAGE_NOT_FOUND', 'SNAPSHOT_NOT_FOUND', 'TEMPLATE_NOT_FOUND']);
    expect(byStatus(11)).toEqual(['BUSY', 'CONTAINER_MOUNTED', 'TEMPLATE_IN_USE']);
    expect(byStatus(12)).toEqual(['BAD_CATALOG', 'BAD_TREE', 'INTEGRITY']);
    expect(byStatus(13)).toEqual(['ENGINE_FAILED', 'ENGINE_MISMATCH', 'ENGINE_STATE_MISMATCH', 'FUSE_UNAVAILABLE']);
    expect(byStatus(14)).toEqual(['PACKAGE_MANAGER_FAILED']);
    expect(byStatus(130)).toEqual(['INTERRUPTED']);
  });

  test('of what nobody expected is 1', () => {
    expect(exitStatusOf(new Error('x'))).toBe(1);
    expect(exitStatusOf('x')).toBe(1);
    expect(exitStatusOf(new TemplatefsError('BUSY', 'x'))).toBe(11);
  });
});

describe('errors', () => {
  const error = new TemplatefsError('CONTAINER_NOT_FOUND', 'there is no\ncontainer "x"', { hint: 'look' });

  test('are one line of JSON', () => {
    const text = formatJsonError(error);
    expect(text.split('\n')).toHaveLength(2);
    expect(JSON.parse(text)).toEqual({ error: { code: 'CONTAINER_NOT_FOUND', message: 'there is no\ncontainer "x"', hint: 'look' } });
    expect(JSON.parse(formatJsonError(new TemplatefsError('BUSY', 'x')))).toEqual({ error: { code: 'BUSY', message: 'x' } });
    expect(JSON.parse(formatJsonError(new Error('odd')))).toMatchObject({ error: { code: 'FAILED', message: 'odd' } });
  });

  test('have their hint below for people', () => {
    expect(formatError(error)).toBe('templatefs: there is no\ncontainer "x"\n  hint: look\n');
    expect(formatError(new TemplatefsError('BUSY', 'x'))).toBe('templatefs: x\n');
  });
});

describe('tables', () => {
  const columns = [
    { title: 'NAME', value: (row: { name: string; size: number }) => row.name },
    { title: 'SIZE', value: (row: { size: number }) => String(row.size), align: 'right' as const },
    { title: 'LAST', value: () => '' },
  ];

  test('stand under their titles without spaces at the end', () => {
    expect(formatTable([{ name: 'alpha', size: 5 }, { name: 'b', size: 12345 }], columns, 'none')).toBe(
      'NAME    SIZE  LAST\nalpha      5\nb      12345\n',
    );
  });

  test('say so when there is nothing', () => {
    expect(formatTable([], columns, 'none')).toBe('none\n');
  });

  test('fields leave out what is not known', () => {
    expect(formatFields([['name', 'c1'], ['root', null], ['created', 'now']])).toBe('name:    c1\ncreated: now\n');
  });
});

describe('the progress bar', () => {
  test('shows how much of what is done, and fits the terminal', () => {
    expect(formatProgress({ step: 'importing', done: 512, total: 1024, unit: 'bytes' }, 80, 0)).toBe(
      'importing  [############            ]  50%  512 B of 1.00 KiB',
    );
    expect(formatProgress({ step: 'importing', done: 2048, unit: 'bytes' }, 80, 2000)).toBe('importing  2.00 KiB  1.00 KiB/s');
    expect(formatProgress({ step: 'x'.repeat(200), done: 1, unit: 'items' }, 40, 0)).toHaveLength(39);
  });

  test('is silent where there is no terminal', () => {
    let written = '';
    const stream = { isTTY: false, write: (text: string) => { written += text; } } as unknown as NodeJS.WriteStream;
    const bar = progressBar(stream, true);
    bar.update({ step: 'x', done: 1, unit: 'items' });
    bar.clear();
    expect(written).toBe('');
  });
});

test('seconds become milliseconds', () => {
  expect(parseSeconds('1.5')).toBe(1500);
  expect(parseSeconds('0')).toBe(0);
  for (const text of ['', '-1', 'ten', '1e3']) expect(() => parseSeconds(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
});
