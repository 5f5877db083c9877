import { spawn } from 'node:child_process';
import { access, chmod, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import type { Readable } from 'node:stream';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import type { PackageHost } from '../packages/package-manager.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { makeTemporaryFolder } from '../store/temporary-folder.js';
import { bootstrapRpm } from './bootstrap-rpm.js';
import type { TemplateDefinition } from './definition.js';
import { explainBootstrapFailure } from './explain-bootstrap-failure.js';
import { writeBootstrapHooks } from './bootstrap-hooks.js';
import { mmdebstrapArguments } from './mmdebstrap-arguments.js';
import type { BootstrapVariant } from './mmdebstrap-arguments.js';

export interface BootstrapOptions {
  /** Called with each line that the bootstrap tool says. */
  readonly onLog?: (line: string) => void;
  /** Kills the tool and everything that it started. */
  readonly signal?: AbortSignal;
  /** URL of a mirror to use in place of the definition's main one. */
  readonly mirror?: string;
  /** Default `minbase`: essential and required packages, and apt. */
  readonly variant?: BootstrapVariant;
  /** Where the root is made before it is packed (about 300 MB); default: TMPDIR. A folder of its own is made there. */
  readonly workDir?: string;
  /** For dnf and zypper: the store's cache of packages. */
  readonly packageHost?: PackageHost;
}

export interface Bootstrap {
  /** The root as a tar in pax format, with numeric owners and xattrs. Ends with an error if the tool failed. */
  readonly stream: Readable;
  /** Settles when the tool has ended and nothing of it is left; rejects as the stream does. */
  readonly finished: Promise<void>;
}

const LOG_LINES_KEPT = 200;

/**
 * The time that no file's mtime may exceed, in seconds: files that were written while the template was made get it.
 * Midnight (UTC) makes two bootstraps of one day from one state of the mirror the same, byte for byte.
 */
function sourceDateEpoch(): string {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && /^[0-9]+$/.test(given)) return given;
  const daySeconds = 86_400;
  return String(Math.floor(Date.now() / 1000 / daySeconds) * daySeconds);
}

function toolEnvironment(definition: TemplateDefinition, workFolder: string): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    ...definition.environment,
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    TMPDIR: workFolder,
    SOURCE_DATE_EPOCH: sourceDateEpoch(),
  };
  for (const name of ['http_proxy', 'https_proxy', 'ftp_proxy', 'no_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY']) {
    if (process.env[name] !== undefined) environment[name] = process.env[name];
  }
  return environment;
}

async function checkKeys(definition: TemplateDefinition): Promise<void> {
  for (const key of definition.keys) {
    try {
      await access(key);
    } catch (error) {
      throw new TemplatefsError('FAILED', `the keyring ${key} of ${definition.name} is not there: ${errnoOf(error) ?? String(error)}`, {
        hint: 'install it on this host (for Debian: apt-get install debian-archive-keyring)',
        cause: error,
      });
    }
  }
}

/** The definition with `mirror` in place of the main one: the first repository's and all with the same URL. */
function withMirror(definition: TemplateDefinition, mirror: string | undefined): TemplateDefinition {
  if (mirror === undefined) return definition;
  if (!/^(https?|ftp|file):\/\/[^\s[\]"'\\]+$/.test(mirror)) {
    throw new TemplatefsError('USAGE', `not the URL of a mirror: ${mirror}`, { hint: 'for example: http://deb.debian.org/debian' });
  }
  const main = definition.repositories[0]?.uri;
  const uri = mirror.replace(/\/+$/, '');
  return { ...definition, repositories: definition.repositories.map((repository) => (repository.uri === main ? { ...repository, uri } : repository)) };
}

function checkBootstrappable(definition: TemplateDefinition): void {
  if (definition.kind === 'app') {
    throw new TemplatefsError('USAGE', `${definition.name} is an app template; only OS templates can be bootstrapped`, {
      hint: `templatefs template create ${definition.base ?? 'NAME'}`,
    });
  }
}

/** Runs the tool in `workFolder`, writes its tar to `stream`, and waits for its end. */
async function runTool(definition: TemplateDefinition, options: BootstrapOptions, stream: PassThrough, workFolder: string): Promise<void> {
  const purpose = `bootstrap ${definition.name}`;
  const [mmdebstrap, unshare] = await Promise.all([
    findExecutable({ name: 'mmdebstrap', debianPackage: 'mmdebstrap', purpose }),
    findExecutable({ name: 'unshare', debianPackage: 'util-linux', purpose }),
    checkKeys(definition),
  ]);
  const hooks = await writeBootstrapHooks(definition, workFolder);
  const isStopped = (): boolean => options.signal?.aborted === true;
  const interrupted = (): TemplatefsError => new TemplatefsError('INTERRUPTED', `interrupted while bootstrapping ${definition.name}`);
  if (isStopped() || stream.destroyed) throw interrupted();

  const child = spawn(
    unshare,
    ['--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--', mmdebstrap, ...mmdebstrapArguments(definition, options.variant ?? 'minbase', hooks)],
    { cwd: '/', env: toolEnvironment(definition, workFolder), detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const log: string[] = [];
  createInterface({ input: child.stderr, crlfDelay: Infinity }).on('line', (line) => {
    log.push(line);
    if (log.length > LOG_LINES_KEPT) log.shift();
    options.onLog?.(line);
  });
  child.stdout.pipe(stream, { end: false });

  const kill = (): void => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL'); // unshare takes the whole pid namespace with it
    } catch {
      // It has ended by itself.
    }
    child.stdout.destroy(); // a reader that gave up would keep it, and so the end of the child, waiting
  };
  const stopListening = onAbort(options.signal, kill);
  stream.once('close', kill); // the reader gave up
  try {
    await new Promise<void>((done, fail) => {
      child.once('error', (error) => {
        fail(new TemplatefsError('FAILED', `cannot start ${unshare}: ${errnoOf(error) ?? error.message}`, { cause: error }));
      });
      child.once('close', (code, signal) => {
        if (isStopped() || stream.destroyed) fail(interrupted());
        else if (code === 0) done();
        else fail(explainBootstrapFailure(definition, log, signal === null ? `exit status ${String(code)}` : `killed by ${signal}`));
      });
    });
  } finally {
    stopListening();
    stream.off('close', kill);
  }
}

async function makeRoot(definition: TemplateDefinition, options: BootstrapOptions, stream: PassThrough): Promise<void> {
  try {
    checkBootstrappable(definition);
    const workFolder = makeTemporaryFolder('bootstrap', options.workDir);
    try {
      await chmod(workFolder, 0o755); // apt downloads as its own user, who must be able to reach the root
      const wanted = withMirror(definition, options.mirror);
      if (definition.packageManager === 'apt') await runTool(wanted, options, stream, workFolder);
      else await bootstrapRpm(wanted, { ...options, sourceDateEpoch: sourceDateEpoch() }, stream, workFolder);
    } finally {
      // After SIGKILL the last processes of the namespace may take a moment to be gone.
      await rm(workFolder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    }
    stream.end();
  } catch (error) {
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

/**
 * Makes the root of an OS template: with mmdebstrap for apt, with the host's dnf or zypper for theirs; signatures are checked.
 *
 * The tool runs in a pid and mount namespace of its own: it and everything it started ends with it, and no mount that it
 * makes is seen by the host. Its packages are the distribution's, signed, and their scripts run as root of the host in
 * the new root: a definition is as trusted as the keys that it names.
 *
 * Errors come through the stream and `finished`: USAGE for an app template or a mirror that is no URL, FAILED for a
 * missing tool or keyring, NO_MIRROR, INTEGRITY (signatures), NO_SPACE, PACKAGE_MANAGER_FAILED, and INTERRUPTED when
 * `signal` was aborted or the stream destroyed.
 */
export function bootstrapTemplate(definition: TemplateDefinition, options: BootstrapOptions = {}): Bootstrap {
  const stream = new PassThrough();
  stream.on('error', () => undefined); // also told by `finished`; an unread stream must not end the process
  const finished = makeRoot(definition, options, stream);
  finished.catch(() => undefined); // a caller that reads only the stream has been told there
  return { stream, finished };
}
