/**
 * Has `stop` called once when `signal` is aborted; at once if that was before anybody listened.
 *
 * @returns ends the listening
 */
export function onAbort(signal: AbortSignal | undefined, stop: () => void): () => void {
  if (signal?.aborted === true) stop();
  else signal?.addEventListener('abort', stop, { once: true });
  return () => signal?.removeEventListener('abort', stop);
}
