import { copyFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const LOADFILE = '/usr/share/dbench/client.txt';
const scratch = useScratch();

test.each(VARIANTS)('dbench, $name', { timeout: 5 * MINUTE }, async (variant) => {
  const root = await ProgramRoot.mount(scratch, (folder) => {
    copyFileSync(LOADFILE, `${folder}/client.txt`);
  });
  const place = root.path(variant.place);
  // The load file is one of the template, and dbench compares sizes and statuses with what it says.
  const said = await root.inVariant(variant, () => runChecked('dbench', ['-D', place, '-c', `${place}/client.txt`, '-t', '20', '--sync-dir', '--xattr', '6'], { timeoutMs: 4 * MINUTE }));
  expect(said).toMatch(/^Throughput [\d.]*[1-9][\d.]* MB\/sec/m);
  expect(said).not.toMatch(/failed|ERROR|expected/i);
  await runChecked('cmp', [LOADFILE, `${place}/client.txt`]);
  await root.expectTemplateUntouched();
});
