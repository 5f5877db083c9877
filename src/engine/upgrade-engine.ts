import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { TemplatefsError, storeWriteError } from '../core/errors.js';
import { formatKeyValues, parseKeyValues } from '../core/key-value-text.js';
import type { StorePaths } from '../core/store-paths.js';
import type { EngineVersion } from './engine-binary.js';
import { hasEngineName, parseEngineFile, type EngineFile } from './engine-state.js';

/** The holder itself waits 10 s for the other binary and 30 s for its worker. */
const ANSWER_TIMEOUT_MS = 60_000;
const PROBE_TIMEOUT_MS = 30_000;

export interface UpgradeOptions {
  readonly paths: StorePaths;
  readonly container: string;
  readonly running: EngineFile;
  /** The new executable, and what it says of itself. */
  readonly binary: string;
  readonly version: EngineVersion;
}

/** Says why an engine cannot take a root over; nothing is touched. @throws ENGINE_STATE_MISMATCH */
export function requireSameState({ container, running, binary, version }: Omit<UpgradeOptions, 'paths'>): void {
  if (running.stateVersion !== null && running.stateVersion === version.stateVersion) return;
  const has = running.stateVersion === null ? 'keeps a state that no other engine can take over' : `keeps state ${running.stateVersion}`;
  const takes = version.stateVersion === null ? 'takes none over' : `takes state ${version.stateVersion}`;
  throw new TemplatefsError('ENGINE_STATE_MISMATCH', `the engine ${running.version ?? ''} of ${container} ${has}, the engine ${version.version} (${binary}) ${takes}: nothing was changed`.replaceAll('  ', ' '), {
    hint: `mount it anew when the container can be stopped: templatefs umount ${container} && templatefs mount ${container}`,
  });
}

/** The answer to this request, once it is there. */
function readAnswer(paths: StorePaths, container: string, id: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(paths.upgradeAnswer(container), 'utf8');
  } catch {
    return undefined;
  }
  const values = new Map(parseKeyValues(text, { file: paths.upgradeAnswer(container), errorCode: 'ENGINE_FAILED' }).map(({ key, value }) => [key, value]));
  return values.get('request') === id ? values.get('result') : undefined;
}

/**
 * Hands a mounted root over to another executable: docs/protocols/handover.md. The caller holds the container's lock.
 *
 * @throws ENGINE_STATE_MISMATCH before anything is touched; ENGINE_FAILED when the new engine does not come up, and the old one
 * goes on
 */
export async function upgradeEngine(options: UpgradeOptions): Promise<void> {
  const { paths, container, running, binary, version } = options;
  requireSameState(options);
  const id = randomUUID();
  const request = paths.upgradeRequest(container);
  try {
    writeFileSync(`${request}.new`, formatKeyValues([{ key: 'request', value: id }, { key: 'engine', value: binary }]), { mode: 0o600 });
    renameSync(`${request}.new`, request);
  } catch (error) {
    throw storeWriteError(error, request);
  }
  const failed = (why: string): TemplatefsError =>
    new TemplatefsError('ENGINE_FAILED', `the engine of ${container} was not upgraded: ${why}`, {
      hint: `the root is served on as before; ${paths.run(container)}/log may say more`,
    });
  try {
    // Any other process would be ended by the signal.
    if (!hasEngineName(running.holder)) throw failed(`pid ${running.holder} is no engine any more`);
    process.kill(running.holder, 'SIGUSR1');
    const deadline = performance.now() + ANSWER_TIMEOUT_MS;
    let answer: string | undefined;
    while ((answer = readAnswer(paths, container, id)) === undefined) {
      if (performance.now() >= deadline) throw failed(`it gives no answer within ${ANSWER_TIMEOUT_MS / 1000} seconds`);
      await sleep(3);
    }
    if (answer !== 'ok') throw failed(answer.replace(/^failed: /, ''));
  } finally {
    rmSync(request, { force: true });
    rmSync(paths.upgradeAnswer(container), { force: true });
  }
  // A request that the kernel cannot answer by itself. A new engine that crashes over it is taken back by now.
  const probed = await Promise.race([statfs(running.mountpoint).then(() => true, () => false), sleep(PROBE_TIMEOUT_MS, false, { ref: false })]);
  const serving = parseEngineFile(readFileSync(paths.engineState(container), 'utf8'), paths.engineState(container));
  if (!probed || serving.version !== version.version) throw failed('the new engine does not serve its root');
}
