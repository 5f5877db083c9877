import { TemplatefsError } from '../core/errors.js';

/** As image-spec and Go name them: `linux`, `amd64`, `v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** Node's names of architectures, where they differ. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle', loong64: 'loong64' };

export function hostPlatform(architecture: string = process.arch): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[architecture] ?? architecture };
}

/** The platform of a descriptor. @returns undefined when there is none */
export function parsePlatform(value: unknown): Platform | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { os, architecture, variant } = value as Record<string, unknown>;
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined;
  return { os, architecture, ...(typeof variant === 'string' && variant !== '' && { variant }) };
}

/** Reads `OS/ARCHITECTURE[/VARIANT]`. @throws USAGE */
export function platformOption(text: string): Platform {
  const [os, architecture, variant, more] = text.split('/');
  if (!/^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9.]+)?$/.test(text) || os === undefined || architecture === undefined || more !== undefined) {
    throw new TemplatefsError('USAGE', `not a platform: ${JSON.stringify(text)}`, { hint: 'for example: --platform linux/arm64' });
  }
  return { os, architecture, ...(variant !== undefined && { variant }) };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

/** Whether what is offered runs where `wanted` is asked for; without a wanted variant any will do. */
export function isPlatform(offered: Platform, wanted: Platform): boolean {
  return offered.os === wanted.os && offered.architecture === wanted.architecture && (wanted.variant === undefined || offered.variant === wanted.variant);
}
