import { readContainerdFile } from '../catalog/containerd-file.js';
import { containerdId } from '../core/containerd-names.js';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';

/** Refuses to remove what containerd still lists: the snapshotter removes the record first. @throws TEMPLATE_IN_USE, BUSY, INTEGRITY */
export function refuseOfContainerd(paths: StorePaths, kind: 'container' | 'template', name: string): void {
  const id = containerdId(name);
  if (id === undefined) return;
  const record = readContainerdFile(paths.containerdRecord(id), id);
  if (record === undefined || (record.kind === 'committed') !== (kind === 'template')) return;
  throw new TemplatefsError(kind === 'template' ? 'TEMPLATE_IN_USE' : 'BUSY', `${kind} ${name} is a snapshot of containerd, ${JSON.stringify(record.key)}`, {
    hint: 'remove the image or the container with containerd (ctr, nerdctl, crictl); it removes its snapshots then',
  });
}
