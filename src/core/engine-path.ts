import { fileURLToPath } from 'node:url';

/** Where the engine is: TEMPLATEFS_ENGINE, or what `npm run build` makes in this package. */
export function enginePath(): string {
  const named = process.env['TEMPLATEFS_ENGINE'];
  if (named !== undefined && named !== '') return named;
  return fileURLToPath(new URL('../../build/Release/templatefs-engine', import.meta.url));
}
