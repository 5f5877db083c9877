import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { temporaryFolder } from './temporary-store.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/**
 * Compiles folders of src/ for tests that need real processes: plain Node cannot run TypeScript, and a unit test must not
 * depend on what dist/ happens to hold.
 *
 * @returns the folder that stands for src/, removed when the test ends
 */
export function compiledSources(...folders: readonly string[]): string {
  const target = temporaryFolder();
  writeFileSync(join(target, 'package.json'), '{"type":"module"}');
  symlinkSync(join(ROOT, 'node_modules'), join(target, 'node_modules'));
  for (const folder of folders) {
    mkdirSync(join(target, folder), { recursive: true });
    for (const name of readdirSync(join(ROOT, 'src', folder)).filter((file) => file.endsWith('.ts'))) {
      const { outputText } = ts.transpileModule(readFileSync(join(ROOT, 'src', folder, name), 'utf8'), {
        compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
      });
      writeFileSync(join(target, folder, name.replace(/\.ts$/, '.js')), outputText);
    }
  }
  return target;
}
