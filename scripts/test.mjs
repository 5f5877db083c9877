// npm test: sets up, then runs every test of the project and ends with one line: N passed, N failed.
//
//   npm test               lint, type check, C++ unit tests under the sanitizers, all TypeScript tests
//   npm test -- FILTER...  only the TypeScript tests whose file names contain FILTER
//   npm run test:programs [-- FILTER...]   real programs on roots, the long ones too, each in every way (test/programs)

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main, passSignalsOn, run, say } from './checkout.mjs';
import { setup } from './setup.mjs';

const failed = { passed: 0, failed: 1, skipped: 0 };

function heading(text) {
  say(`\n── ${text}`);
}

/** A tool that passes or fails as a whole counts as one test. */
async function runTool(title, args) {
  heading(title);
  const status = await run(process.execPath, args);
  if (status === 0) say('ok');
  return status === 0 ? { passed: 1, failed: 0, skipped: 0 } : failed;
}

/** Doctest ends with: [doctest] test cases: 10 | 9 passed | 1 failed | 0 skipped */
async function runNative(title, program, env) {
  heading(title);
  let output = '';
  // ThreadSanitizer of g++ 12 cannot place its memory with as much address randomization as new kernels have.
  const status = await run('setarch', [process.arch === 'x64' ? 'x86_64' : 'aarch64', '--addr-no-randomize', program], { env, onOutput: (text) => (output += text) });
  const summaries = [...output.replace(/\x1b\[[0-9;]*m/g, '').matchAll(/test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped/g)];
  const summary = summaries.at(-1);
  if (summary === undefined || Number(summary[1]) === 0) {
    say(`${program} ${summary === undefined ? 'ended before its summary' : 'ran no test'} (exit status ${status})`);
    return failed;
  }
  const counts = { passed: Number(summary[2]), failed: Number(summary[3]), skipped: Number(summary[4]) };
  // A sanitizer's report ends the program with a status of its own, whatever the tests said.
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

async function runVitest(filters, env = {}) {
  heading('TypeScript tests');
  const folder = mkdtempSync(join(tmpdir(), 'templatefs-test-'));
  try {
    const report = join(folder, 'report.json');
    const status = await run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...filters], { stdin: 'ignore', env });
    let result;
    try {
      result = JSON.parse(readFileSync(report, 'utf8'));
    } catch {
      say(`vitest wrote no report (exit status ${status})`);
      return failed;
    }
    // A file that cannot be loaded has no tests to fail.
    const brokenFiles = result.testResults.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')).length;
    const counts = { passed: result.numPassedTests, failed: result.numFailedTests + brokenFiles, skipped: result.numPendingTests + (result.numTodoTests ?? 0) };
    if (counts.passed + counts.failed === 0) {
      say('vitest ran no test');
      counts.failed = 1;
    }
    if (status !== 0 && counts.failed === 0) counts.failed = 1;
    return counts;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const isPrograms = process.argv[2] === '--programs';
const TEST_GROUPS = ['run', 'build', 'test', 'runtimes'];
const filters = process.argv.slice(isPrograms ? 3 : 2);
passSignalsOn();
await main(async () => {
  const results = [];
  if (isPrograms) {
    await setup({ packageGroups: [...TEST_GROUPS, 'programs'] });
    results.push(await runVitest(filters, { TEMPLATEFS_TEST_PROGRAMS: 'all' }));
  } else if (filters.length > 0) {
    await setup({ packageGroups: TEST_GROUPS });
    results.push(await runVitest(filters));
  } else {
    await setup({ tests: true, strict: true, packageGroups: TEST_GROUPS });
    results.push(await runTool('Lint', ['node_modules/eslint/bin/eslint.js', '.', '--max-warnings=0']));
    results.push(await runTool('Type check', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.check.json']));
    results.push(await runNative('C++ unit tests, AddressSanitizer and UndefinedBehaviorSanitizer', 'build/Release/native-tests-asan', { ASAN_OPTIONS: 'detect_leaks=1', UBSAN_OPTIONS: 'print_stacktrace=1' }));
    results.push(await runNative('C++ unit tests, ThreadSanitizer', 'build/Release/native-tests-tsan', { TSAN_OPTIONS: 'halt_on_error=1' }));
    results.push(await runVitest([]));
  }
  const sum = (name) => results.reduce((total, counts) => total + counts[name], 0);
  const skipped = sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : '';
  say(`\n${sum('passed')} passed, ${sum('failed')} failed${skipped}`);
  return sum('failed') === 0 ? 0 : 1;
});
