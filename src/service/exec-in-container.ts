import { runInSandbox } from '../sandbox/run-in-sandbox.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { findEngine } from '../engine/engine-binary.js';
import type { ServiceContext } from './context.js';
import { enterContainer, hostnameOf, leaveContainer } from './use-container.js';

export interface ExecOptions {
  readonly name: string;
  /** The program and its arguments, as seen in the container. */
  readonly command: readonly [string, ...string[]];
  readonly network: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Folder in the container; `/` if left out. */
  readonly workdir?: string;
  /** Called when the command is about to start: from then on signals of the user are meant for it. */
  readonly onStart?: () => void;
}

/**
 * Runs a command in the sandbox on a container's root, with this process's stdin, stdout and stderr; while it runs,
 * signals to this process are passed on to it, and `context.signal` is not looked at. A container that
 * is not mounted is mounted for the time, and unmounted by the last `exec` that used it.
 *
 * @returns the command's exit status, 128 + N if signal N ended it
 * @throws CONTAINER_NOT_FOUND, BUSY, FUSE_UNAVAILABLE, ENGINE_FAILED, FAILED
 */
export async function execInContainer(context: ServiceContext, options: ExecOptions): Promise<number> {
  const { root, use, ids } = await enterContainer(context, options.name);
  try {
    options.onStart?.();
    return await runInSandbox({
      root,
      hostname: hostnameOf(options.name),
      command: options.command,
      network: options.network,
      env: options.env,
      ...(options.workdir !== undefined && { workdir: options.workdir }),
      ...(ids !== null && { userNamespace: { engine: await findEngine(), ids } }),
      stdio: 'inherit',
    });
  } catch (error) {
    // What the kernel says of a FUSE mount without its engine.
    if (errnoOf(error) !== 'ENOTCONN') throw error;
    throw new TemplatefsError('ENGINE_FAILED', `the engine of ${options.name} has ended`, {
      hint: `run the command again: the root is mounted anew; run/${options.name}/log in the store may say why`,
      cause: error,
    });
  } finally {
    use.release();
    await leaveContainer(context, options.name);
  }
}
