import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

/*
 * A worker thread needs JavaScript. In the built program that is simply the file beside this one. Tests run the
 * TypeScript sources, and vitest transforms only what the main thread imports, so there the worker starts with a
 * loader that strips the types with the `typescript` package (a development dependency) as it imports files.
 * Building first, or keeping the worker in a file that tsc does not check, would be the alternatives: tests of stale
 * code, or code without types.
 */
const SOURCE_LOADER = `
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import ts from 'TYPESCRIPT';
export async function resolve(specifier, context, next) {
  const own = specifier.startsWith('.') && context.parentURL?.endsWith('.ts');
  return next(own ? specifier.replace(/\\.js$/, '.ts') : specifier, context);
}
export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const source = await readFile(fileURLToPath(url), 'utf8');
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  return { format: 'module', shortCircuit: true, source: ts.transpileModule(source, { compilerOptions }).outputText };
}
`;

/** Starts the module `name` of this folder (no extension) in a worker thread, from dist/ as from the sources. */
export function startWorker(name: string): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, import.meta.url));
  const typescript = createRequire(import.meta.url).resolve('typescript');
  const loader = SOURCE_LOADER.replace('TYPESCRIPT', pathToFileURL(typescript).href);
  const start = `
    import { register } from 'node:module';
    register(${JSON.stringify(dataUrl(loader))});
    await import(${JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)});
  `;
  return new Worker(new URL(dataUrl(start)), { execArgv: [] });
}

function dataUrl(module: string): string {
  return `data:text/javascript,${encodeURIComponent(module)}`;
}
