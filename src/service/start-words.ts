import { readTemplateFile } from '../catalog/template-file.js';
import { imageCommand, type ImageConfig } from '../core/image-config.js';
import type { StorePaths } from '../core/store-paths.js';

/** How a container of an image starts; null for a container of a template that was no image. */
export function imageOf(paths: StorePaths, template: string): ImageConfig | null {
  return readTemplateFile(paths.templateRecord(template))?.image ?? null;
}

/** The program and arguments of a container: given ones come first, then what its image says. @returns undefined when nobody says anything */
export function startWords(image: ImageConfig | null, given: readonly string[]): readonly [string, ...string[]] | undefined {
  const [program, ...rest] = image === null ? given : imageCommand(image, given);
  return program === undefined ? undefined : [program, ...rest];
}
