import { spawn } from 'node:child_process';
import { TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { hostPlatform, type Platform } from './platform.js';

export interface CopyOptions extends SkopeoOptions {
  /** Without `docker://`. */
  readonly reference: string;
  /** An OCI image layout that skopeo makes; its image has the name `image`. */
  readonly folder: string;
  readonly platform?: Platform;
  /** false: plain HTTP, or a certificate that nobody vouches for. */
  readonly tlsVerify: boolean;
}

/** Tags and digests of registries, as the distribution specification has them; above all no option and no space. */
const REFERENCE = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,1023}$/;

/**
 * Copies an image from a registry with skopeo, which knows credentials, mirrors and the signature policy of the host
 * (containers-policy.json(5)). @throws USAGE, FAILED with what skopeo says, INTERRUPTED
 */
export async function copyFromRegistry(options: CopyOptions): Promise<void> {
  const { reference, folder, platform = hostPlatform() } = options;
  const args = [
    '--override-os', platform.os,
    '--override-arch', platform.architecture,
    ...(platform.variant === undefined ? [] : ['--override-variant', platform.variant]),
    'copy', '--quiet', '--retry-times', '2',
    ...(options.tlsVerify ? [] : ['--src-tls-verify=false']),
    `docker://${reference}`, `oci:${folder}:image`,
  ];
  await runSkopeo(args, reference, options);
}

/** What skopeo's callers have in common. */
export interface SkopeoOptions {
  readonly signal?: AbortSignal;
  readonly onLog?: (line: string) => void;
}

/** Runs skopeo about an image of a registry. @throws USAGE for what is no reference, FAILED with what skopeo says, INTERRUPTED */
export async function runSkopeo(args: readonly string[], reference: string, { signal, onLog }: SkopeoOptions): Promise<void> {
  if (!REFERENCE.test(reference)) throw new TemplatefsError('USAGE', `not a reference to an image: ${JSON.stringify(reference)}`, { hint: 'for example: docker://registry.example/debian:12' });
  const skopeo = await findExecutable({ name: 'skopeo', debianPackage: 'skopeo', purpose: 'copy images to and from registries' });
  const child = spawn(skopeo, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = (): void => { child.kill('SIGTERM'); };
  const stopListening = onAbort(signal, stop);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = `${stderr}${text}`.slice(-8192);
    for (const line of text.split('\n')) if (line !== '') onLog?.(line);
  });
  try {
    const status = await new Promise<number | string>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, name) => { resolve(code ?? name ?? 'unknown'); });
    });
    signal?.throwIfAborted();
    if (status === 0) return;
    throw new TemplatefsError('FAILED', `skopeo could not copy docker://${reference} (${status}): ${lastMessage(stderr)}`, {
      hint: 'try it alone: skopeo inspect docker://' + reference + '; credentials come from `skopeo login`, --no-tls-verify allows plain HTTP',
    });
  } finally {
    stopListening();
  }
}

/** The message among skopeo's log lines: time="…" level=fatal msg="…". */
function lastMessage(stderr: string): string {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  const message = /msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  return message === undefined ? line : message.replaceAll('\\"', '"');
}
