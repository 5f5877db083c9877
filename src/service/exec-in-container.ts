import { runInSandbox } from '../sandbox/run-in-sandbox.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { findEngine } from '../engine/engine-binary.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { imageOf, startWords } from './start-words.js';
import { enterContainer, hostnameOf, leaveContainer } from './use-container.js';

export interface ExecOptions {
  readonly name: string;
  /** The program and its arguments, as seen in the container; empty: what its image says. */
  readonly command: readonly string[];
  readonly network: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Folder in the container; what its image says, else `/`, if left out. */
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
 * @throws CONTAINER_NOT_FOUND, USAGE without a command, BUSY, FUSE_UNAVAILABLE, ENGINE_FAILED, FAILED
 */
export async function execInContainer(context: ServiceContext, options: ExecOptions): Promise<number> {
  const { command, workdir, env } = howToStart(context, options);
  const { root, use, ids } = await enterContainer(context, options.name);
  try {
    options.onStart?.();
    return await runInSandbox({
      root,
      hostname: hostnameOf(options.name),
      command,
      network: options.network,
      env,
      ...(workdir !== undefined && { workdir }),
      ...(ids !== null && { userNamespace: { engine: await findEngine(), ids } }),
      stdio: 'inherit',
    });
  } catch (error) {
    // What the kernel says of a FUSE mount without its engine, and of requests that were under way when it ended.
    if (errnoOf(error) !== 'ENOTCONN' && errnoOf(error) !== 'ECONNABORTED') throw error;
    throw new TemplatefsError('ENGINE_FAILED', `the engine of ${options.name} has ended`, {
      hint: `run the command again: the root is mounted anew; run/${options.name}/log in the store may say why`,
      cause: error,
    });
  } finally {
    use.release();
    await leaveContainer(context, options.name);
  }
}

interface Start {
  readonly command: readonly string[];
  readonly workdir: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** Names that a shell could not use may stand in an image; the sandbox refuses them. */
const VARIABLE = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s;

/** What the caller says, and where that is nothing, what the image says. */
function howToStart(context: ServiceContext, options: ExecOptions): Start {
  using opened = openForReading(context);
  const image = imageOf(context.paths, findContainer(opened.catalog, options.name).template);
  // An entrypoint is for containers that start, not for a command that somebody runs in one.
  const command = options.command.length > 0 ? options.command : startWords(image, []);
  if (command === undefined) {
    throw new TemplatefsError('USAGE', 'no command given', { hint: `templatefs exec ${options.name} -- COMMAND...` });
  }
  const fromImage = (image?.env ?? []).flatMap((pair) => {
    const [, name, value] = VARIABLE.exec(pair) ?? [];
    return name === undefined || value === undefined ? [] : [[name, value] as const];
  });
  return { command, workdir: options.workdir ?? image?.workdir ?? undefined, env: { ...Object.fromEntries(fromImage), ...options.env } };
}
