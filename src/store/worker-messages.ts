import type { RawName } from './raw-names.js';

/** What the main thread and the object workers say to each other. Each request gets one response with its id. */

/** Where one batch of objects is made. */
export interface BatchPlace {
  readonly batch: number;
  /** The folder of finished objects. */
  readonly objects: string;
  /** The batch's own folder below staging. */
  readonly staging: string;
  /** The folder of objects that are known to be broken. */
  readonly broken: string;
  readonly hashBits: number;
  /** Takes an explicit source at its word where no SHA-256 was written down: see `mayMend`. */
  readonly trustFingerprint: boolean;
  /** Nothing is added: only broken objects with these fingerprints are mended. */
  readonly mendOnly: readonly string[] | undefined;
}

/** Folders that a batch's staging folder is divided into. */
export const STAGING_PARTS = 16;

/**
 * The number of a staged file: the thread that made it, and which of the thread's files it is, from 1. Numbers, not
 * names, are kept and sent: a batch may have millions.
 */
export function stagedNumber(thread: number, serial: number): number {
  return thread * 2 ** 32 + serial;
}

export function stagedThread(staged: number): number {
  return Math.floor(staged / 2 ** 32);
}

export function stagedSerial(staged: number): number {
  return staged % 2 ** 32;
}

/**
 * The path in the batch's staging folder. Each thread has a folder of its own (until there are more than 16), because
 * two that create files in one folder wait for each other.
 */
export function stagedName(staged: number): string {
  return `${stagedThread(staged) % STAGING_PARTS}/${staged.toString(36)}`;
}

/** Small files, one after another in one buffer, which comes back with the response. */
export interface StoreFilesRequest {
  readonly kind: 'files';
  readonly place: BatchPlace;
  readonly buffer: ArrayBuffer;
  /** Where each file ends. */
  readonly ends: readonly number[];
}

/** A file that somebody may be changing, below a folder, with the size that it should have. */
export interface FileBelow {
  readonly top: string;
  readonly path: RawName;
  readonly sizeBytes: number;
}

/** Files that are read by the thread itself. Their atime stays. */
export interface CopyFilesRequest {
  readonly kind: 'copy';
  readonly place: BatchPlace;
  readonly files: readonly FileBelow[];
  /** Whether to take their SHA-256, too. */
  readonly withSums: boolean;
  /** Whether an object is believed to be what its name says: see `AddFilesOptions`. */
  readonly believesNames: boolean;
  /** Memory of a `ScrubPace`. */
  readonly pace: SharedArrayBuffer;
  readonly bytesPerSecond: number;
}

export interface OpenStreamRequest {
  readonly kind: 'open';
  readonly place: BatchPlace;
  readonly stream: number;
}

export interface StreamDataRequest {
  readonly kind: 'data';
  readonly stream: number;
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

export interface StreamHoleRequest {
  readonly kind: 'hole';
  readonly stream: number;
  readonly length: number;
}

export interface CloseStreamRequest {
  readonly kind: 'close';
  readonly stream: number;
}

/** Gives staged contents their names in the store. Equal hashes must go to one worker, in order. */
export interface LinkRequest {
  readonly kind: 'link';
  readonly place: BatchPlace;
  readonly contents: readonly { readonly hash: string; readonly staged: number; readonly size: number; readonly sum: Uint8Array }[];
}

/** Closes what the batch has open, and forgets it. */
export interface ForgetRequest {
  readonly kind: 'forget';
  readonly batch: number;
}

export interface VerifyRequest {
  readonly kind: 'verify';
  /** Each file with the fingerprint that it should have. */
  readonly files: readonly { readonly path: string; readonly hash: string }[];
  readonly hashBits: number;
  /** Memory of a `ScrubPace`. */
  readonly pace: SharedArrayBuffer;
  readonly bytesPerSecond: number;
  /** Whether to take the SHA-256, too. */
  readonly withSums: boolean;
}

/** Takes the fingerprints of files that are no objects, or may become some. */
export interface FingerprintRequest {
  readonly kind: 'fingerprint';
  readonly files: readonly FileBelow[];
  /** `ends`: only the first and last `END_BYTES`. */
  readonly what: 'ends' | 'whole';
  readonly hashBits: number;
  /** Memory of a `ScrubPace`. */
  readonly pace: SharedArrayBuffer;
  readonly bytesPerSecond: number;
}

export const END_BYTES = 16 * 1024;
/** A file of up to so much is read whole at once: opening it a second time takes longer than that. */
export const WHOLE_AT_ONCE_BYTES = 128 * 1024;

export type WorkerRequest =
  | FingerprintRequest
  | StoreFilesRequest
  | CopyFilesRequest
  | OpenStreamRequest
  | StreamDataRequest
  | StreamHoleRequest
  | CloseStreamRequest
  | LinkRequest
  | ForgetRequest
  | VerifyRequest;

/** One content, hashed: found in the store, or staged. */
export interface HashedContent {
  readonly hash: string;
  readonly size: number;
  /** Number of the staged file (`stagedName`); 0 when an equal object was found. */
  readonly staged: number;
  /** The equal object's variant; −1 when staged. */
  readonly variant: number;
  /** Bytes that this call added to staging. */
  readonly written: number;
  /** SHA-256 of the content; all zero where it was not worth its time. */
  readonly sum: Uint8Array;
}

export interface LinkedContent {
  readonly variant: number;
  /** Whether the object is new in the store. */
  readonly created: boolean;
}

/** The fingerprint; null for a file that is gone, has another size, or is no regular file; else what reading it failed with. */
export type FileFingerprint = string | null | { readonly error: string };

export interface VerifiedFile {
  readonly hash?: string;
  readonly sum?: Uint8Array;
  /** What reading the file failed with. */
  readonly error?: string;
}

export interface WorkerResponse {
  readonly id: number;
  readonly contents?: readonly HashedContent[];
  /** null: the file is gone, has another size, is no regular file, or it is time to stop. */
  readonly copied?: readonly (HashedContent | null)[];
  readonly linked?: readonly LinkedContent[];
  readonly verified?: readonly VerifiedFile[];
  readonly fingerprints?: readonly FileFingerprint[];
  /** A buffer given back to be used again. */
  readonly buffer?: ArrayBuffer;
  readonly error?: { readonly message: string; readonly code: string | undefined; readonly stack: string | undefined };
}
