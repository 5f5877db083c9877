import { TemplatefsError } from '../core/errors.js';

/** Reads `--env NAME=VALUE`, given any number of times. @throws USAGE */
export function parseEnvironment(pairs: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf('=');
      if (equals < 1) {
        throw new TemplatefsError('USAGE', `not a variable: ${JSON.stringify(pair)}`, { hint: 'for example: --env LANG=C.UTF-8' });
      }
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}
