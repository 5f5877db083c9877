import { readContainerFile } from '../catalog/container-file.js';
import { readStoreConfig } from '../catalog/store-config.js';
import { TemplatefsError } from '../core/errors.js';
import { parseLinkSettings, type LinkSettings } from '../core/link-policy.js';
import { DEFAULT_POLICY, type LinkPolicy } from '../dedup/candidate.js';
import type { ServiceContext } from './context.js';

export interface ContainerLinkPolicy extends LinkPolicy {
  readonly bytesPerSecond: number;
  readonly threads: number;
}

/** What holds for one container: the command's options, then the container's file, then the store's config. @throws INTEGRITY */
export function linkPolicyOf(context: ServiceContext, container: string, given: LinkSettings): ContainerLinkPolicy {
  const file = context.paths.containerFile(container);
  const own = parseLinkSettings(readContainerFile(file)?.other ?? []);
  if (typeof own === 'string') throw new TemplatefsError('INTEGRITY', `${file}: ${own}`, { hint: 'mend the line (docs/merging.md)' });
  const settings: LinkSettings = { ...readStoreConfig(context.paths.config).link, ...own, ...given };
  return {
    leastBytes: settings.leastBytes ?? DEFAULT_POLICY.leastBytes,
    greatestBytes: settings.greatestBytes ?? DEFAULT_POLICY.greatestBytes,
    paths: settings.paths?.map((path) => Buffer.from(path, 'utf8').toString('latin1')) ?? null,
    leastAgeSeconds: settings.ageSeconds ?? DEFAULT_POLICY.leastAgeSeconds,
    bytesPerSecond: settings.bytesPerSecond ?? 0,
    threads: settings.threads ?? 0,
  };
}

/** Which files it looks for, as a text to compare. */
export function policyKey({ leastBytes, greatestBytes, paths, leastAgeSeconds }: ContainerLinkPolicy): string {
  return JSON.stringify([leastBytes, greatestBytes, paths, leastAgeSeconds]);
}
