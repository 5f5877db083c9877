/** One template: a named, versioned tree. */
export interface TemplateRecord {
  readonly name: string;
  /** Counts from 1; each `--refresh` or update adds 1. */
  readonly version: number;
  /** Digest of the tree image. */
  readonly tree: string;
  /** Regular files, each inode once. */
  readonly files: number;
  /** Logical size of their content. */
  readonly bytes: number;
  /** ISO 8601. */
  readonly created: string;
  /** Where it came from: `definition`, `archive FILE`, `folder DIR`, `stdin`, `recovered`. */
  readonly source: string;
  /** The definition that it was made from, with flavors, as JSON; null for an import. */
  readonly definition: string | null;
}

/** One container, as the catalog knows it; its private area is the truth. */
export interface ContainerRecord {
  readonly name: string;
  readonly template: string;
  /** Digest of the base tree. */
  readonly tree: string;
  /** ISO 8601. */
  readonly created: string;
  /** Where it was last mounted; null for the default or never. */
  readonly mountpoint: string | null;
}

/** One change of a container's packages. */
export interface TransactionRecord {
  readonly id: number;
  readonly container: string;
  readonly operation: 'install' | 'update' | 'remove' | 'localinstall';
  /** `running` also when its process was killed, until the next command has undone it. */
  readonly state: 'running' | 'done' | 'undone';
  /** JSON: templates and packages that were asked for. */
  readonly request: string;
  /** JSON: what became of which package. */
  readonly changes: string;
  /** JSON: which paths it has changed, and what they were like afterwards. */
  readonly paths: string;
  /** ISO 8601. */
  readonly started: string;
  readonly ended: string | null;
}

/** What sharing saved at one time. Sizes are bytes. */
export interface SampleRecord {
  /** ISO 8601. */
  readonly taken: string;
  /** The command that took it. */
  readonly reason: 'stats' | 'link' | 'gc';
  readonly containers: number;
  /** What the containers would take as separate copies. */
  readonly logical: number;
  /** Allocated for all of the store. */
  readonly stored: number;
  readonly objects: number;
  readonly private: number;
  /** Size of what links share. */
  readonly linked: number;
  /** Page cache of objects, each once; null: nobody looked. */
  readonly resident: number | null;
  /** The same without sharing. */
  readonly unshared: number | null;
}

/** What a command is doing and cannot do in one step; the next command finishes or undoes it. */
export type JournalOperation =
  | 'create-container'
  | 'clone-container'
  | 'make-container'
  | 'destroy-container'
  | 'restore-container'
  | 'add-snapshot'
  | 'remove-snapshot'
  | 'add-template'
  | 'remove-template'
  | 'change-container';

export interface JournalEntry {
  readonly id: number;
  readonly operation: JournalOperation;
  /** Name of the container (also of one whose snapshot it is) or template. */
  readonly subject: string;
  readonly pid: number;
  readonly pidStart: string;
  readonly boot: string;
  /** ISO 8601. */
  readonly started: string;
}
