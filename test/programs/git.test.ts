import { beforeAll, describe, expect, test } from 'vitest';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { compareTrees } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const LOAD = new URL('git-load.sh', import.meta.url).pathname;
const MINUTE = 60_000;
const scratch = useScratch();

async function gitLoad(step: 'make' | 'work', folder: string): Promise<string> {
  return runChecked('bash', [LOAD, step, folder], { timeoutMs: 4 * MINUTE });
}

describe('git does on a root what it does on the host, with repositories of the template and with new ones', () => {
  let wanted = '';
  let reference = '';

  beforeAll(async () => {
    reference = scratch.makeFolder('reference');
    await gitLoad('make', reference);
    wanted = await gitLoad('work', reference);
    expect(wanted.split('\n').length).toBeGreaterThan(15);
  });

  test.each(VARIANTS)('$name', { timeout: 5 * MINUTE }, async (variant) => {
    const root = await ProgramRoot.mount(scratch, async (folder) => {
      await gitLoad('make', folder);
    });
    const folder = root.path(variant.place);
    expect(await root.inVariant(variant, () => gitLoad('work', folder))).toBe(wanted);
    await root.expectTemplateUntouched();
    // After a remount, too, all repositories are sound and their work trees clean.
    for (const name of ['old', 'made', 'shallow']) {
      await runChecked('git', ['-C', `${folder}/${name}`, 'fsck', '--strict', '--no-dangling'], { env: { GIT_CONFIG_GLOBAL: '/dev/null' } });
      expect(await runChecked('git', ['-C', `${folder}/${name}`, 'status', '--porcelain'])).toBe('');
    }
    const left = await compareTrees(`${reference}/made/copy`, `${folder}/made/copy`, '--any-mtime');
    expect(left.differences).toBe('');
    expect(left.entries).toBeGreaterThan(200);
  });
});
