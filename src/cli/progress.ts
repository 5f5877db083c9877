import { formatSize } from '../core/sizes.js';
import type { Progress } from '../service/context.js';

const REDRAW_MS = 100;
const BAR_WIDTH = 24;

/** One line that is drawn over and over; only on a terminal. */
export interface ProgressBar {
  update(progress: Progress): void;
  /** Clears the line, so that something else can be written; the next update draws it again. */
  clear(): void;
}

/** One state of the bar, at most `columns` wide. */
export function formatProgress({ step, done, total, unit }: Progress, columns: number, elapsedMs: number): string {
  const amount = (value: number): string => (unit === 'bytes' ? formatSize(value) : String(value));
  const parts = [step];
  if (total !== undefined && total > 0) {
    const share = Math.min(1, done / total);
    const filled = Math.round(share * BAR_WIDTH);
    parts.push(`[${'#'.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}]`, `${Math.floor(share * 100)}%`);
    parts.push(`${amount(done)} of ${amount(total)}`);
  } else {
    parts.push(amount(done));
  }
  if (unit === 'bytes' && elapsedMs > 1000) parts.push(`${formatSize((done * 1000) / elapsedMs)}/s`);
  return parts.join('  ').slice(0, Math.max(0, columns - 1));
}

/** A bar on `stream`, or one that does nothing if that is no terminal. */
export function progressBar(stream: NodeJS.WriteStream, enabled: boolean): ProgressBar {
  if (!enabled || !stream.isTTY) return { update: () => undefined, clear: () => undefined };
  let drawnAt = 0;
  let drawn = false;
  let step = '';
  let startedAt = performance.now();
  return {
    update(progress) {
      const now = performance.now();
      if (progress.step !== step) {
        step = progress.step;
        startedAt = now;
        drawnAt = 0;
      }
      if (now - drawnAt < REDRAW_MS) return;
      drawnAt = now;
      drawn = true;
      stream.write(`\r\x1b[K${formatProgress(progress, stream.columns || 80, now - startedAt)}`);
    },
    clear() {
      if (drawn) stream.write('\r\x1b[K');
      drawn = false;
    },
  };
}
