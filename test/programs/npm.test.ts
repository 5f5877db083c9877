import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT } from '../support/project.js';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { compareTrees } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();

/** Packages without dependencies that this project has installed: real ones, and no network is needed. */
const PACKAGES = ['commander', 'lru-cache', 'typescript'];

async function npm(folder: string, ...args: string[]): Promise<void> {
  const options = ['--offline', '--no-audit', '--no-fund', '--loglevel=error', '--cache', join(folder, '../npm-cache')];
  await runChecked('npm', [...args, ...options], { cwd: folder, timeoutMs: 3 * MINUTE, env: { npm_config_update_notifier: 'false' } });
}

/** A project with its lock, its packages as archives, all installed; and a cache beside it. */
async function makeProject(folder: string): Promise<void> {
  const project = join(folder, 'project');
  mkdirSync(join(project, 'archives'), { recursive: true });
  for (const name of PACKAGES) await npm(project, 'pack', '--ignore-scripts', '--pack-destination', 'archives', `${PROJECT}node_modules/${name}`);
  const archives = (await runChecked('ls', [join(project, 'archives')])).trim().split('\n');
  const dependencies = Object.fromEntries(PACKAGES.map((name) => [name, `file:archives/${archives.find((archive) => archive.startsWith(name)) ?? ''}`]));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'project', version: '1.0.0', private: true, dependencies }));
  writeFileSync(join(project, 'main.ts'), "import { LRUCache } from 'lru-cache';\nexport const cache = new LRUCache<string, number>({ max: 3 });\n");
  await npm(project, 'install');
}

test.each(VARIANTS)('npm ci over what the template has installed, and tsc, $name', { timeout: 5 * MINUTE }, async (variant) => {
  const root = await ProgramRoot.mount(scratch, makeProject);
  const project = root.path(variant.place, 'project');
  await root.inVariant(variant, async () => {
    // A file too much, one too few: npm ci begins with nothing.
    writeFileSync(join(project, 'node_modules/commander/too-much'), 'x');
    await runChecked('rm', [join(project, 'node_modules/lru-cache/package.json')]);
    await npm(project, 'ci');
    await npm(project, 'ci');
    await npm(project, 'uninstall', 'commander');
    await npm(project, 'install', join(project, 'archives', (await runChecked('ls', [join(project, 'archives')])).trim().split('\n')[0] ?? ''));
    await npm(project, 'ls');
    await runChecked('node_modules/.bin/tsc', ['--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', 'main.ts'], { cwd: project });
  });
  expect(readFileSync(join(project, 'main.js'), 'utf8')).toMatch(/LRUCache\(\{ max: 3/);
  await root.expectTemplateUntouched();
  for (const name of PACKAGES) {
    const { differences, entries } = await compareTrees(join(root.source, 'project/node_modules', name), join(project, 'node_modules', name), '--any-mtime');
    expect(differences).toBe('');
    expect(entries).toBeGreaterThan(10);
  }
});
