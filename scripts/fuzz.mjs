// npm run test:fuzz: libFuzzer on what the engine reads from outside, from the kept inputs in test/fuzz/corpus.
//
//   npm run test:fuzz -- [--seconds N] [--jobs N] [--keep] [HARNESS...]
//
// --seconds: for each harness, 60 if not said. --jobs: so many processes share a harness's time. --keep: what reached something
// new goes to test/fuzz/corpus, made as small as it can be. Findings go to build/fuzz/findings; a fixed one goes to
// test/fuzz/regressions/HARNESS. Ends with one line, and status 1 if there was a finding.

import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { main, mustRun, passSignalsOn, ROOT, run, say, ScriptError } from './checkout.mjs';

/** The harness and its program; native/fuzz/harness.h has the same list. */
const HARNESSES = { requests: 'request', 'tree-image': 'tree_image', 'private-area': 'private_area', 'shared-state': 'shared_state', control: 'control', mount: 'mount' };
const BUILD = 'build/fuzz';

function corpusOf(kind, name) {
  return join(ROOT, 'test/fuzz', kind, name);
}

async function fuzz(name, { seconds, jobs, keep }) {
  const program = `${BUILD}/${HARNESSES[name]}_fuzzer`;
  const corpus = join(ROOT, BUILD, 'corpus', name);
  const findings = join(ROOT, BUILD, 'findings', name);
  for (const folder of [corpus, findings]) mkdirSync(folder, { recursive: true });
  const kept = ['corpus', 'regressions'].map((kind) => corpusOf(kind, name)).filter((path) => existsSync(path));
  say(`\n── ${name}: ${seconds} s`);
  const limits = ['-rss_limit_mb=3000', '-timeout=20', '-max_len=32768', '-close_fd_mask=1', '-verbosity=1', '-print_final_stats=1'];
  const before = readdirSync(findings).length;
  const statuses = await Promise.all(
    Array.from({ length: jobs }, () =>
      run(program, [...limits, `-max_total_time=${seconds}`, `-artifact_prefix=${findings}/`, corpus, ...kept], { env: { ASAN_OPTIONS: 'detect_leaks=1' } }),
    ),
  );
  if (keep) {
    const smaller = join(ROOT, BUILD, 'merged', name);
    rmSync(smaller, { recursive: true, force: true });
    mkdirSync(smaller, { recursive: true });
    await mustRun(program, ['-merge=1', ...limits, smaller, ...kept, corpus], { name: 'merging the corpus' });
    cpSync(smaller, corpusOf('corpus', name), { recursive: true });
  }
  return statuses.every((status) => status === 0) ? 0 : Math.max(1, readdirSync(findings).length - before);
}

passSignalsOn();
await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string', default: '60' }, jobs: { type: 'string', default: '1' }, keep: { type: 'boolean', default: false } },
  });
  const unknown = positionals.find((name) => HARNESSES[name] === undefined);
  if (unknown !== undefined) throw new ScriptError(`unknown harness: ${unknown}\n  hint: there are ${Object.keys(HARNESSES).join(', ')}`);
  const seconds = Number(values.seconds);
  const jobs = Number(values.jobs);
  if (!Number.isInteger(seconds) || seconds < 1 || !Number.isInteger(jobs) || jobs < 1) throw new ScriptError('--seconds and --jobs take a number above 0');
  if (process.getuid() !== 0) throw new ScriptError('the fuzzers need root: they mount a tmpfs and write trusted xattrs');
  await mustRun('bash', ['scripts/install-debian-packages.sh', 'build', 'fuzz'], { name: 'installing Debian packages' });
  say('Building the fuzzers');
  await mustRun('make', ['--silent', '-j2', '-f', 'native/fuzz/Makefile', `BUILD=${BUILD}`], { name: 'building the fuzzers' });
  const names = positionals.length > 0 ? positionals : Object.keys(HARNESSES);
  let findings = 0;
  for (const name of names) findings += await fuzz(name, { seconds, jobs, keep: values.keep });
  say(`\nfuzz: ${names.length} harnesses, ${seconds} s each, ${findings} findings`);
  return findings === 0 ? 0 : 1;
});
