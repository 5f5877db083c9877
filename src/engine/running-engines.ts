import { existsSync, readdirSync } from 'node:fs';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { controlRequest, isNobodyThere, type ControlReply } from './control-client.js';

/** What became of a request to one engine. */
export interface EngineAnswer {
  readonly container: string;
  /** undefined: there is a socket, and whoever should answer there did not. */
  readonly reply: ControlReply | undefined;
  readonly problem: string;
}

/** Containers that have a control socket: those that are mounted, being mounted or unmounted, or were when the host went down. */
export function containersWithSocket(paths: StorePaths): string[] {
  let names: string[];
  try {
    names = readdirSync(paths.runs);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  return names.filter((name) => !name.startsWith('.') && existsSync(paths.controlSocket(name))).sort();
}

/**
 * Asks one engine. @returns undefined where none is running: no socket, or one that nobody listens on
 * @throws INTERRUPTED
 */
export async function askEngine(paths: StorePaths, container: string, request: readonly string[], timeoutMs = 30_000, signal?: AbortSignal): Promise<EngineAnswer | undefined> {
  try {
    const reply = await controlRequest(paths.controlSocket(container), request, { timeoutMs, ...(signal !== undefined && { signal }) });
    return { container, reply, problem: '' };
  } catch (error) {
    if (isNobodyThere(error)) return undefined;
    signal?.throwIfAborted();
    return { container, reply: undefined, problem: error instanceof TemplatefsError ? error.message : String(error) };
  }
}

/** Asks every running engine the same. */
export async function askEngines(paths: StorePaths, request: readonly string[]): Promise<EngineAnswer[]> {
  const answers: EngineAnswer[] = [];
  for (const container of containersWithSocket(paths)) {
    const answer = await askEngine(paths, container, request);
    if (answer !== undefined) answers.push(answer);
  }
  return answers;
}
