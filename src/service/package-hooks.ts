import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { WORK_FOLDER, type ContainerPrograms } from '../packages/package-manager.js';
import type { ScriptName, TemplateDefinition } from '../templates/definition.js';
import type { ServiceContext } from './context.js';

/** Which of a definition's scripts belong to an operation. */
export type HookOperation = 'install' | 'update' | 'remove';
export type HookTime = 'pre' | 'mid-pre' | 'mid-post' | 'post';

export interface HookPlace {
  readonly container: string;
  /** On the host. */
  readonly root: string;
  readonly privateArea: string;
  readonly programs: ContainerPrograms;
}

/** As vzpkg gives it: which container, and where it is; and the definition's own variables. */
function environmentOf(definition: TemplateDefinition, place: HookPlace, onHost: boolean): Record<string, string> {
  return {
    ...definition.environment,
    VEID: place.container,
    TEMPLATE: definition.name,
    ...(onHost && { VE_ROOT: place.root, VE_PRIVATE: place.privateArea }),
  };
}

function failed(definition: TemplateDefinition, name: string, how: string, lastLines: string): TemplatefsError {
  return new TemplatefsError('PACKAGE_MANAGER_FAILED', `the script ${name} of ${definition.name} failed (${how})${lastLines === '' ? '' : `: ${lastLines}`}`, {
    hint: `look at ${definition.scripts[name as ScriptName] ?? definition.folder}; the container is as it was before`,
  });
}

async function runOnHost(context: ServiceContext, definition: TemplateDefinition, name: ScriptName, file: string, place: HookPlace): Promise<void> {
  const child = spawn(file, [place.root, place.container], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8', ...environmentOf(definition, place, true) },
    ...(context.signal !== undefined && { signal: context.signal, killSignal: 'SIGKILL' as const }),
  });
  let last = '';
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
      last = line;
      context.onLog?.(line);
    });
  }
  const how = await new Promise<string | undefined>((resolve, reject) => {
    child.once('error', (error) => {
      if (context.signal?.aborted === true) reject(context.signal.reason instanceof Error ? context.signal.reason : error);
      else reject(new TemplatefsError('FAILED', `cannot run ${file}: ${errnoOf(error) ?? error.message}`, { hint: 'check that it is executable and that its interpreter is there', cause: error }));
    });
    child.once('close', (code, signal) => { resolve(code === 0 ? undefined : (signal ?? `exit status ${String(code)}`)); });
  });
  if (how !== undefined) throw failed(definition, name, how, last);
}

async function runInContainer(context: ServiceContext, definition: TemplateDefinition, name: ScriptName, file: string, place: HookPlace): Promise<void> {
  // The text goes in as an argument: its interpreter is the container's, and nothing of it is left in the root.
  const text = readFileSync(file, 'utf8');
  const { onLog } = context;
  const answer = await place.programs.run({
    script: `mkdir -p ${WORK_FOLDER}; umask 077; printf %s "$1" > ${WORK_FOLDER}/script; chmod 0700 ${WORK_FOLDER}/script; umask 022; exec ${WORK_FOLDER}/script`,
    arguments: [text],
    environment: environmentOf(definition, place, false),
    ...(onLog !== undefined && { onLine: onLog }),
  });
  if (answer.status !== 0) throw failed(definition, name, `exit status ${answer.status}`, answer.errors.split('\n').at(-1) ?? '');
}

/**
 * Runs the scripts of definitions for one moment of an operation: before it those of the host first, after it those of the container
 * first. docs/templates.md says which there are.
 *
 * @throws PACKAGE_MANAGER_FAILED when a script fails, FAILED, INTERRUPTED
 */
export async function runHooks(
  context: ServiceContext,
  definitions: readonly TemplateDefinition[],
  when: { readonly time: HookTime; readonly operation: HookOperation },
  place: HookPlace,
): Promise<void> {
  for (const definition of definitions) {
    const names: ScriptName[] = when.time === 'pre'
      ? [`pre-${when.operation}-hn`, `pre-${when.operation}`]
      : when.time === 'post'
        ? [`post-${when.operation}`, `post-${when.operation}-hn`]
        : [`${when.time}-${when.operation}`];
    for (const name of names) {
      const file = definition.scripts[name];
      if (file === undefined) continue;
      await (name.endsWith('-hn') ? runOnHost : runInContainer)(context, definition, name, file, place);
    }
  }
}
