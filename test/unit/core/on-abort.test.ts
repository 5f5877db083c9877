import { describe, expect, it } from 'vitest';
import { onAbort } from '../../../src/core/on-abort.js';

describe('onAbort', () => {
  const counting = (): { stop: () => void; calls: () => number } => {
    let calls = 0;
    return { stop: () => void (calls += 1), calls: () => calls };
  };

  it('calls once when it is aborted', () => {
    const [controller, { stop, calls }] = [new AbortController(), counting()];
    onAbort(controller.signal, stop);
    expect(calls()).toBe(0);
    controller.abort();
    controller.abort();
    expect(calls()).toBe(1);
  });

  it('calls at once when it was aborted before', () => {
    const { stop, calls } = counting();
    onAbort(AbortSignal.abort(), stop);
    expect(calls()).toBe(1);
  });

  it('calls no more when listening has ended, and not without a signal', () => {
    const [controller, { stop, calls }] = [new AbortController(), counting()];
    onAbort(controller.signal, stop)();
    onAbort(undefined, stop)();
    controller.abort();
    expect(calls()).toBe(0);
  });
});
