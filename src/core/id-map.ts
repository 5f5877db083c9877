import { TemplatefsError } from './errors.js';

/** `size` ids of a container, from `container` up, are `host` and up on the host: a line of /proc/PID/uid_map. */
export interface IdRange {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

/** How the ids of a container are shown on the host. Both lists have at least one range. */
export interface IdMaps {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/** 2^32 - 1 stands for "no id". */
const LAST_ID = 0xfffffffe;
/** What the kernel takes: UID_GID_MAP_MAX_EXTENTS in include/linux/user_namespace.h. */
const MAX_RANGES = 340;

const HINT = 'write CONTAINER:HOST:SIZE, as podman does: --idmap 0:100000:65536';

/** Reads `CONTAINER:HOST:SIZE`; with spaces in place of the colons as files have it. @returns undefined if it is none */
export function parseIdRange(text: string): IdRange | undefined {
  const match = /^(\d{1,10})[: ](\d{1,10})[: ](\d{1,10})$/.exec(text);
  if (match === null) return undefined;
  const [container, host, size] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (size < 1 || container + size - 1 > LAST_ID || host + size - 1 > LAST_ID) return undefined;
  return { container, host, size };
}

export function formatIdRange({ container, host, size }: IdRange, separator = ':'): string {
  return [container, host, size].join(separator);
}

function overlap(first: number, firstSize: number, second: number, secondSize: number): boolean {
  return first < second + secondSize && second < first + firstSize;
}

/** What is wrong with the ranges of one map; undefined if nothing is. */
export function idMapProblem(ranges: readonly IdRange[]): string | undefined {
  if (ranges.length > MAX_RANGES) return `more than ${MAX_RANGES} ranges`;
  for (const [index, range] of ranges.entries()) {
    for (const other of ranges.slice(0, index)) {
      if (overlap(range.container, range.size, other.container, other.size) || overlap(range.host, range.size, other.host, other.size)) {
        return `${formatIdRange(other)} and ${formatIdRange(range)} overlap`;
      }
    }
  }
  return undefined;
}

/** What a user gave: `--idmap` for users and groups alike, or `--uidmap` and `--gidmap`; each may be `none`. */
export interface IdMapOptions {
  readonly idmap?: readonly string[];
  readonly uidmap?: readonly string[];
  readonly gidmap?: readonly string[];
}

function parseRanges(option: string, texts: readonly string[]): IdRange[] {
  const ranges = texts.map((text) => {
    const range = parseIdRange(text);
    if (range === undefined) throw new TemplatefsError('USAGE', `not a range of ids: ${JSON.stringify(text)}`, { hint: HINT });
    return range;
  });
  const problem = idMapProblem(ranges);
  if (problem !== undefined) throw new TemplatefsError('USAGE', `${option}: ${problem}`, { hint: 'each id stands in one range only' });
  return ranges;
}

/**
 * Makes maps of options. As with podman, one of `uidmap` and `gidmap` alone counts for both.
 *
 * @returns undefined when there is no such option, null for `--idmap none` @throws USAGE
 */
export function parseIdMaps({ idmap, uidmap, gidmap }: IdMapOptions): IdMaps | null | undefined {
  if (idmap !== undefined) {
    if (uidmap !== undefined || gidmap !== undefined) {
      throw new TemplatefsError('USAGE', '--idmap maps users and groups: it excludes --uidmap and --gidmap', {
        hint: 'give --uidmap and --gidmap where they differ, else --idmap alone',
      });
    }
    if (idmap.length === 1 && idmap[0] === 'none') return null;
    const ranges = parseRanges('--idmap', idmap);
    return { uids: ranges, gids: ranges };
  }
  const uids = uidmap && parseRanges('--uidmap', uidmap);
  const gids = gidmap && parseRanges('--gidmap', gidmap);
  const both = uids ?? gids;
  return both === undefined ? undefined : { uids: uids ?? both, gids: gids ?? both };
}

export function sameIdMaps(first: IdMaps | null, second: IdMaps | null): boolean {
  return JSON.stringify(first) === JSON.stringify(second);
}

/** The maps as arguments of the engine. */
export function idMapArguments(maps: IdMaps): string[] {
  return [
    ...maps.uids.flatMap((range) => ['--uid-map', formatIdRange(range)]),
    ...maps.gids.flatMap((range) => ['--gid-map', formatIdRange(range)]),
  ];
}
