// With a tool that stands in for mmdebstrap: what goes to it, what its failures become, and that nothing of it is left.
// The real one is run by the demo and the e2e tests. Needs root (mount and pid namespaces).

import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bootstrapTemplate } from '../../../src/templates/bootstrap-template.js';
import type { TemplateDefinition } from '../../../src/templates/definition.js';
import { loadDefinition } from '../../../src/templates/load-definition.js';
import { mmdebstrapArguments, sourcesLine } from '../../../src/templates/mmdebstrap-arguments.js';

let folder: string;
let definition: TemplateDefinition;

/** Puts a shell script named mmdebstrap in front of the PATH. */
async function standIn(script: string): Promise<void> {
  const path = join(folder, 'bin', 'mmdebstrap');
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'templatefs-bootstrap-test-'));
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'work'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`);
  definition = { ...(await loadDefinition('debian-12-x86_64')), keys: [] };
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const bootstrap = (options: Parameters<typeof bootstrapTemplate>[1] = {}): ReturnType<typeof bootstrapTemplate> =>
  bootstrapTemplate(definition, { workDir: join(folder, 'work'), ...options });

async function expectFailure(script: string, code: string, message: RegExp): Promise<void> {
  await standIn(script);
  const { stream, finished } = bootstrap();
  await expect(text(stream)).rejects.toMatchObject({ code });
  await expect(finished).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  expect(await readdir(join(folder, 'work'))).toEqual([]);
}

describe('bootstrapTemplate', () => {
  it('hands on what the tool writes, its log, and a clean environment', async () => {
    vi.stubEnv('LD_LIBRARY_PATH', '/nowhere');
    vi.stubEnv('APT_CONFIG', '/host/apt.conf');
    await standIn('echo "I: working" >&2; mkdir "$TMPDIR/root"; env | sort; echo "pid $$"; printf "%s\\n" "$@"');
    const log: string[] = [];
    const { stream, finished } = bootstrap({ onLog: (line) => log.push(line) });
    const output = await text(stream);
    await finished;
    expect(log).toEqual(['I: working']);
    expect(output).toMatch(/^DEBIAN_FRONTEND=noninteractive$/m);
    expect(output).toMatch(/^SOURCE_DATE_EPOCH=[0-9]+$/m);
    expect(output).toContain(`TMPDIR=${join(folder, 'work')}/templatefs-bootstrap-`);
    expect(output).not.toMatch(/LD_LIBRARY_PATH|APT_CONFIG/);
    expect(output).toContain('pid 1\n'); // a pid namespace of its own
    expect(output).toContain('--format=tar\n');
    expect(await readdir(join(folder, 'work'))).toEqual([]);
  });

  it('tells a mirror that cannot be reached, and what to do', async () => {
    await standIn('echo "E: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Could not resolve \'deb.debian.org\'" >&2; exit 1');
    const { finished } = bootstrap();
    await expect(finished).rejects.toMatchObject({
      code: 'NO_MIRROR',
      message: expect.stringContaining("Could not resolve 'deb.debian.org'") as string,
      hint: expect.stringContaining('templatefs template import debian-12-x86_64 TAR') as string,
    });
  });

  it('never takes a bad signature for a mirror out of reach', async () => {
    await expectFailure('echo "E: Could not connect to a" >&2; echo "W: GPG error: http://x: NO_PUBKEY 6ED0E7B82643E131" >&2; exit 1', 'INTEGRITY', /NO_PUBKEY/);
  });

  it('tells a full disk', async () => {
    await expectFailure('echo "dpkg: error: No space left on device" >&2; exit 1', 'NO_SPACE', /No space left/);
  });

  it('fails, and never ends the stream well, when the tool fails after it wrote', async () => {
    await expectFailure('echo part of a tar; echo "E: package broken" >&2; exit 25', 'PACKAGE_MANAGER_FAILED', /package broken/);
  });

  it('kills the tool and what it started on abort', async () => {
    await standIn('setsid sh -c "echo started > $TMPDIR/../../started; sleep 600" & echo x; sleep 600');
    const abort = new AbortController();
    const { stream, finished } = bootstrap({ signal: abort.signal });
    stream.resume();
    await vi.waitFor(() => readFile(join(folder, 'started')), { timeout: 10_000 });
    abort.abort();
    await expect(finished).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(join(folder, 'work'))).toEqual([]);
    await delay(100);
    const commands = await Promise.all((await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map((pid) => readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')));
    expect(commands.filter((environment) => environment.includes(join(folder, 'work')))).toEqual([]);
  });

  it('ends the tool when the reader gives up', async () => {
    await standIn('while :; do echo more; done');
    const { stream, finished } = bootstrap();
    stream.once('readable', () => stream.destroy());
    await expect(finished).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(join(folder, 'work'))).toEqual([]);
  });

  it('says what is missing', async () => {
    definition = { ...definition, keys: ['/no/such/key.gpg'] };
    await standIn('exit 0');
    await expect(bootstrap().finished).rejects.toMatchObject({ code: 'FAILED', message: expect.stringContaining('/no/such/key.gpg') as string });
    definition = { ...definition, keys: [], kind: 'app', base: 'debian-12-x86_64' };
    await expect(bootstrap().finished).rejects.toMatchObject({ code: 'USAGE' });
    definition = { ...definition, kind: 'os' };
    await expect(bootstrap({ mirror: 'ht tp://x' }).finished).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('mmdebstrapArguments', () => {
  it('names the keyring in each source, so that no other key of the host counts', () => {
    const repository = { uri: 'http://m.example/debian', suite: 'bookworm', components: ['main', 'contrib'] };
    expect(sourcesLine(repository, ['/a.gpg', '/b.gpg'])).toBe('deb [signed-by=/a.gpg,/b.gpg] http://m.example/debian bookworm main contrib');
    expect(sourcesLine(repository, [])).toBe('deb http://m.example/debian bookworm main contrib');
  });

  it('has all stages of packages, and the mirror that was asked for', () => {
    const args = mmdebstrapArguments({ ...definition, packages: { minimal: ['a'], base: ['b', 'a'], main: ['c'] } }, 'apt', { preCache: '/h/pre', postCache: undefined, cleanUp: '/h/clean' });
    expect(args).toContain('--include=a,b,c');
    expect(args).toContain('--variant=apt');
    expect(args.filter((arg) => arg.includes('-hook='))).toEqual(['--setup-hook=/h/pre', '--customize-hook=/h/clean']);
    expect(args.at(-1)).toBe('deb http://deb.debian.org/debian-security bookworm-security main');
  });
});
