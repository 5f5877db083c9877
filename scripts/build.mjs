// npm run build: the engine and the command line, where their sources changed since they were last built.
//
//   node scripts/build.mjs [--tests] [--strict] [--force]
//
// --tests also builds the C++ unit tests under the sanitizers, --strict makes warnings errors.

import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digestOf, main, mustRun, readStamp, ROOT, run, say, ScriptError, writeStamp } from './checkout.mjs';

const ENGINE = 'build/Release/templatefs-engine';
const NATIVE_TESTS = ['build/Release/native-tests-asan', 'build/Release/native-tests-tsan', 'build/Release/templatefs-engine-asan'];

/** node-gyp comes with npm; npm names it in the environment of its scripts. */
function findNodeGyp() {
  const prefix = dirname(dirname(process.execPath));
  const candidates = [
    process.env.npm_config_node_gyp,
    process.env.npm_execpath && join(dirname(dirname(process.env.npm_execpath)), 'node_modules/node-gyp/bin/node-gyp.js'),
    join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js'),
    join(prefix, 'share/nodejs/node-gyp/bin/node-gyp.js'), // Debian's own package
    '/usr/share/nodejs/node-gyp/bin/node-gyp.js',
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (found === undefined) throw new ScriptError('node-gyp was not found\n  hint: run this by npm: npm run build');
  return found;
}

/**
 * Where Node.js's headers are, if they came with it; otherwise node-gyp downloads them. The engine needs none of them,
 * but node-gyp does not configure without.
 */
export function nodeHeaders() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include/node/common.gypi')) ? prefix : undefined;
}

async function buildNative({ tests, strict, force }) {
  const sources = digestOf(['native', 'binding.gyp']);
  const [engineStamp, testsStamp, oldFlags = ''] = (readStamp('build/.stamp') ?? '').split(' ');
  // Once configured with tests, a build folder stays so: changing flags would compile everything anew.
  const flags = new Set(oldFlags.split(',').filter((flag) => flag !== ''));
  const wanted = [...(tests ? ['tests'] : []), ...(strict ? ['strict'] : [])];
  const isBuilt =
    engineStamp === sources && existsSync(join(ROOT, ENGINE)) && wanted.every((flag) => flags.has(flag)) &&
    (!tests || (testsStamp === sources && NATIVE_TESTS.every((path) => existsSync(join(ROOT, path)))));
  if (isBuilt && !force) return;
  for (const flag of wanted) flags.add(flag);
  say(`Building the engine${flags.has('tests') ? ' and its tests' : ''}`);
  const nodeGyp = findNodeGyp();
  const headers = nodeHeaders();
  const common = ['--loglevel=warn', ...(headers === undefined ? [] : [`--nodedir=${headers}`])];
  await mustRun(process.execPath, [nodeGyp, 'configure', ...common, '--', ...[...flags].map((flag) => `-Dtemplatefs_${flag}=1`)], { name: 'node-gyp configure' });
  let output = ''; // what make does is of interest only when it fails; warnings and errors come on stderr
  const status = await run(process.execPath, [nodeGyp, 'build', ...common, '--jobs', 'max'], { onOutput: (text) => (output += text), quiet: true });
  if (status !== 0) throw new ScriptError(`${output}node-gyp build failed (exit status ${status})`);
  writeStamp('build/.stamp', `${sources} ${flags.has('tests') ? sources : '-'} ${[...flags].join(',')}`);
}

/** What a source file left behind when it was renamed or removed would still be imported by accident. */
function removeOrphans(folder) {
  for (const entry of readdirSync(join(ROOT, 'dist', folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) removeOrphans(path);
    else if (/\.js(\.map)?$/.test(path) && !existsSync(join(ROOT, 'src', path.replace(/\.js(\.map)?$/, '.ts')))) rmSync(join(ROOT, 'dist', path), { force: true });
  }
}

async function buildTypeScript({ force }) {
  const sources = digestOf(['src', 'tsconfig.json', 'package-lock.json']);
  if (readStamp('dist/.stamp') === sources && existsSync(join(ROOT, 'dist/cli/main.js')) && !force) return;
  say('Building the command line');
  await mustRun(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], { name: 'tsc' });
  removeOrphans('.');
  writeStamp('dist/.stamp', sources);
}

export async function build(options = {}) {
  await buildNative(options);
  await buildTypeScript(options);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flags = process.argv.slice(2);
  await main(async () => {
    const unknown = flags.find((flag) => !['--tests', '--strict', '--force'].includes(flag));
    if (unknown !== undefined) throw new ScriptError(`unknown option: ${unknown}`);
    await build({ tests: flags.includes('--tests'), strict: flags.includes('--strict'), force: flags.includes('--force') });
  });
}
