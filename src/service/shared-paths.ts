import type { ContainerFile } from '../catalog/container-file.js';
import { readStoreConfig } from '../catalog/store-config.js';
import { readTemplateFile } from '../catalog/template-file.js';
import { DEFAULT_SHARED_PATHS, type SharedPaths } from '../core/shared-paths.js';
import type { StorePaths } from '../core/store-paths.js';

/** Whose setting holds. */
export type SharedPathsSource = 'container' | 'template' | 'store' | 'default';

export interface FoundSharedPaths {
  readonly paths: SharedPaths;
  readonly from: SharedPathsSource;
}

/** The shared paths of a template when its containers say nothing. @throws INTEGRITY */
export function templateSharedPaths(paths: StorePaths, template: string): FoundSharedPaths {
  const ofTemplate = readTemplateFile(paths.templateRecord(template))?.shared ?? null;
  if (ofTemplate !== null) return { paths: ofTemplate, from: 'template' };
  const ofStore = readStoreConfig(paths.config).shared;
  return ofStore === null ? { paths: DEFAULT_SHARED_PATHS, from: 'default' } : { paths: ofStore, from: 'store' };
}

/** The shared paths that the next mount of a container will use; the engine finds them by the same rule. @throws INTEGRITY */
export function containerSharedPaths(paths: StorePaths, container: ContainerFile): FoundSharedPaths {
  if (container.shared !== null) return { paths: container.shared, from: 'container' };
  return templateSharedPaths(paths, container.template);
}
