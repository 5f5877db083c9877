import type { Statistics } from '../../service/statistics.js';

/*
 * Statistics in Prometheus's text format (version 0.0.4): a HELP and a TYPE line for each metric, then its samples; units are base
 * units and stand in the name.
 */

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}

function formatMetric({ name, help, samples }: Metric): string {
  const lines = samples.map(({ labels, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`;
  });
  return samples.length === 0 ? '' : `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} gauge\n${lines.join('')}`;
}

function single(name: string, help: string, value: number | null | undefined): Metric {
  return { name, help, samples: value === null || value === undefined ? [] : [{ labels: {}, value }] };
}

/** All metrics; those of memory are left out when nobody looked. */
export function formatPrometheus({ disk, memory, containers }: Statistics): string {
  const each = (name: string, help: string, value: (one: Statistics['containers'][number]) => number | undefined): Metric => ({
    name,
    help,
    samples: containers.flatMap((one) => {
      const found = value(one);
      return found === undefined ? [] : [{ labels: { container: one.name }, value: found }];
    }),
  });
  const labelled = (name: string, help: string, label: string, values: Readonly<Record<string, number>>): Metric => ({
    name,
    help,
    samples: Object.entries(values).map(([text, value]) => ({ labels: { [label]: text }, value })),
  });
  const metrics = [
    single('templatefs_containers', 'Containers of the store.', containers.length),
    single('templatefs_disk_logical_bytes', 'What the containers would take as separate copies.', disk.logicalBytes),
    labelled('templatefs_disk_stored_bytes', 'Allocated on the disk.', 'part', {
      objects: disk.objectBytes, trees: disk.treeBytes, private: disk.privateBytes, snapshots: disk.snapshotBytes,
    }),
    labelled('templatefs_disk_shown_bytes', 'What the containers show, by where it comes from.', 'source', {
      template: disk.templateBytes, link: disk.linkedBytes, private: disk.ownBytes,
    }),
    single('templatefs_disk_saving_ratio', 'Logical size divided by what is stored.', disk.ratio),
    single('templatefs_page_cache_resident_bytes', 'Page cache of objects that mounted containers use, each object once.', memory?.residentBytes),
    single('templatefs_page_cache_unshared_bytes', 'The same, once for each mounted container that uses the object.', memory?.withoutSharingBytes),
    {
      name: 'templatefs_page_cache_shared_bytes',
      help: 'Page cache of objects, by how many mounted containers use them.',
      samples: (memory?.byContainers ?? []).map((one) => ({ labels: { containers: String(one.containers) }, value: one.residentBytes })),
    },
    each('templatefs_container_logical_bytes', 'Content that a container shows.', (one) => one.logicalBytes),
    each('templatefs_container_template_bytes', 'Of that from its template as it is.', (one) => one.templateBytes),
    each('templatefs_container_linked_bytes', 'Size of private entries whose content is shared.', (one) => one.linkedBytes),
    each('templatefs_container_own_bytes', 'Size of content of its own.', (one) => one.ownBytes),
    each('templatefs_container_private_bytes', 'Allocated for its private area.', (one) => one.privateBytes),
    each('templatefs_container_private_files', 'Regular files with content of their own.', (one) => one.privateFiles),
    each('templatefs_container_links', 'Private entries whose content is shared.', (one) => one.links),
    each('templatefs_container_page_cache_bytes', 'Page cache of objects that a mounted container uses, divided by how many use them.', (one) => one.memory?.proportionalBytes),
  ];
  return metrics.map(formatMetric).join('');
}
