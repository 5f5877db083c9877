/**
 * What an image says about how its programs are to be started: the parts of an OCI image configuration that outlive the
 * import. It is kept with the template and used by `bundle` and `exec`.
 */
export interface ImageConfig {
  /** The program and its first arguments; empty: the first word of `cmd` is the program. */
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=VALUE`, in the image's order. */
  readonly env: readonly string[];
  /** As in a Dockerfile: `user`, `user:group`, by name or by number. null: root. */
  readonly user: string | null;
  /** An absolute path; null: `/`. */
  readonly workdir: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** `SIGTERM`, `15`; null: the runtime's own choice. */
  readonly stopSignal: string | null;
  /** `80/tcp`. */
  readonly exposedPorts: readonly string[];
  /** Folders for which a container is meant to get volumes. */
  readonly volumes: readonly string[];
  readonly architecture: string;
  readonly os: string;
}

/** All that an image's configuration may be made of, together: more is no configuration but an attack on memory. */
const MAX_WORDS = 10_000;

/** What is wrong with a configuration, as a sentence without its subject. */
export class ImageConfigProblem extends Error {}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown, name: string): string | null {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value !== 'string') throw new ImageConfigProblem(`its ${name} is no text`);
  // No argument, variable or path that a kernel takes can hold a NUL.
  if (value.includes('\0')) throw new ImageConfigProblem(`its ${name} holds a NUL`);
  return value;
}

function words(value: unknown, name: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new ImageConfigProblem(`its ${name} is no list`);
  if (value.length > MAX_WORDS) throw new ImageConfigProblem(`its ${name} has more than ${MAX_WORDS} words`);
  return value.map((word: unknown) => {
    if (typeof word !== 'string') throw new ImageConfigProblem(`its ${name} holds something that is no text`);
    if (word.includes('\0')) throw new ImageConfigProblem(`its ${name} holds a NUL`);
    return word;
  });
}

function keys(value: unknown, name: string): string[] {
  if (value === undefined || value === null) return [];
  if (!isObject(value)) throw new ImageConfigProblem(`its ${name} is no object`);
  return words(Object.keys(value), name);
}

function labels(value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!isObject(value)) throw new ImageConfigProblem('its Labels is no object');
  return Object.fromEntries(keys(value, 'Labels').map((key) => [key, text(value[key], 'Labels') ?? '']));
}

function environment(value: unknown): string[] {
  const pairs = words(value, 'Env');
  for (const pair of pairs) if (pair.indexOf('=') < 1) throw new ImageConfigProblem(`its Env holds ${JSON.stringify(pair)}, which is no variable`);
  return pairs;
}

/**
 * Reads the JSON of an OCI or Docker image configuration. Fields that mean nothing to us are left out, nulls are what is
 * left out. @throws ImageConfigProblem
 */
export function parseImageConfig(image: unknown): ImageConfig {
  if (!isObject(image)) throw new ImageConfigProblem('it is no JSON object');
  const config = image['config'] ?? {};
  if (!isObject(config)) throw new ImageConfigProblem('its config is no object');
  const workdir = text(config['WorkingDir'], 'WorkingDir');
  return {
    entrypoint: words(config['Entrypoint'], 'Entrypoint'),
    cmd: words(config['Cmd'], 'Cmd'),
    env: environment(config['Env']),
    user: text(config['User'], 'User'),
    workdir: workdir === null || workdir.startsWith('/') ? workdir : `/${workdir}`,
    labels: labels(config['Labels']),
    stopSignal: text(config['StopSignal'], 'StopSignal'),
    exposedPorts: keys(config['ExposedPorts'], 'ExposedPorts'),
    volumes: keys(config['Volumes'], 'Volumes'),
    architecture: text(image['architecture'], 'architecture') ?? 'unknown',
    os: text(image['os'], 'os') ?? 'unknown',
  };
}

/** The inverse of {@link parseImageConfig}, for export and for the template's record. */
export function formatImageConfig(image: ImageConfig): Json {
  const names = (list: readonly string[]): Json => Object.fromEntries(list.map((name) => [name, {}]));
  return {
    architecture: image.architecture,
    os: image.os,
    config: {
      ...(image.user !== null && { User: image.user }),
      ...(image.exposedPorts.length > 0 && { ExposedPorts: names(image.exposedPorts) }),
      ...(image.env.length > 0 && { Env: image.env }),
      ...(image.entrypoint.length > 0 && { Entrypoint: image.entrypoint }),
      ...(image.cmd.length > 0 && { Cmd: image.cmd }),
      ...(image.volumes.length > 0 && { Volumes: names(image.volumes) }),
      ...(image.workdir !== null && { WorkingDir: image.workdir }),
      ...(Object.keys(image.labels).length > 0 && { Labels: image.labels }),
      ...(image.stopSignal !== null && { StopSignal: image.stopSignal }),
    },
  };
}

/** The words that start a container of the image: given ones take the place of `cmd`. */
export function imageCommand(image: ImageConfig, given: readonly string[] = []): string[] {
  return [...image.entrypoint, ...(given.length > 0 ? given : image.cmd)];
}
