import { parseIdMaps, type IdMaps } from '../core/id-map.js';
import { sharedPathsOption, type SharedPaths } from '../core/shared-paths.js';
import { parseSize } from '../core/sizes.js';
import { STATUS, StatusError } from './status.js';

/** The snapshot that an unpack is to become: containerd's `labelSnapshotRef`. */
export const TARGET_LABEL = 'containerd.io/snapshot.ref';
const UID_MAPPING = 'containerd.io/snapshot/uidmapping';
const GID_MAPPING = 'containerd.io/snapshot/gidmapping';
const MAX_SIZE = 'containerd.io/snapshot/max-size';
/** With the prefix of those that containerd passes on to the snapshots of containers. */
const SHARED_PATHS = 'containerd.io/snapshot/templatefs.shared-paths';

/** containerd's own limit for a label: docs of its API. */
const LABEL_BYTES = 4096;

/** What labels ask for, of the container that a snapshot becomes. */
export interface SnapshotSettings {
  readonly ids: IdMaps | null;
  readonly quotaSizeBytes?: number;
  readonly shared?: SharedPaths;
}

/** Labels as they are kept: as containerd does, one with an empty value is none. @throws StatusError (invalid argument) */
export function keptLabels(labels: Readonly<Record<string, string>>): Map<string, string> {
  const kept = new Map<string, string>();
  for (const [name, value] of Object.entries(labels)) {
    if (Buffer.byteLength(name) + Buffer.byteLength(value) > LABEL_BYTES) {
      throw new StatusError(STATUS.invalidArgument, `the label ${name.slice(0, 80)} is longer than ${LABEL_BYTES} bytes`);
    }
    if (value !== '') kept.set(name, value);
  }
  return kept;
}

/** @throws TemplatefsError USAGE for a value that means nothing */
export function settingsOf(labels: ReadonlyMap<string, string>): SnapshotSettings {
  const ranges = (label: string): readonly string[] | undefined => labels.get(label)?.split(',');
  const [uidmap, gidmap, size] = [ranges(UID_MAPPING), ranges(GID_MAPPING), labels.get(MAX_SIZE)];
  const ids = parseIdMaps({ ...(uidmap !== undefined && { uidmap }), ...(gidmap !== undefined && { gidmap }) });
  const shared = sharedPathsOption(ranges(SHARED_PATHS));
  return { ids: ids ?? null, ...(size !== undefined && { quotaSizeBytes: parseSize(size) }), ...(shared !== undefined && { shared }) };
}
