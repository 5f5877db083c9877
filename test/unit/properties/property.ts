import fc from 'fast-check';
import { expect } from 'vitest';
import { TemplatefsError, type ErrorCode } from '../../../src/core/errors.js';

/** How many examples each property is tried with, by what one costs; TEMPLATEFS_PROPERTY_RUNS multiplies them. */
const FACTOR = Number(process.env['TEMPLATEFS_PROPERTY_RUNS'] ?? 1);
export const PROPERTY_TIMEOUT_MS = 60_000 * Math.max(1, FACTOR);

export function runs(count: number): { numRuns: number } {
  return { numRuns: Math.max(1, Math.round(count * FACTOR)) };
}

/**
 * What a reader of foreign input may do: give a result, or throw a TemplatefsError with one of these codes and a message
 * that names the problem.
 *
 * @returns the result; undefined if it was refused
 */
export function orRefused<T>(codes: readonly ErrorCode[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    expectRefusal(codes, error);
    return undefined;
  }
}

export async function orRefusedLater<T>(codes: readonly ErrorCode[], read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    expectRefusal(codes, error);
    return undefined;
  }
}

function expectRefusal(codes: readonly ErrorCode[], error: unknown): void {
  if (!(error instanceof TemplatefsError)) throw error;
  expect(codes, error.message).toContain(error.code);
  expect(error.message.length).toBeGreaterThan(5);
}

/** Thrown by a `refuse` callback: the rule that was broken. */
export class Refused extends Error {}

export function refuse(rule: string): never {
  throw new Refused(rule);
}

export function orBroken<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    expect(error.message.length).toBeGreaterThan(5);
    return undefined;
  }
}

/** A change of bytes: overwrite, insert, cut out, repeat. Places are parts of the whole, so that they fit any length. */
export type Change = readonly [kind: number, place: number, bytes: Uint8Array];

export const changes = fc.array(fc.tuple(fc.nat(3), fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ minLength: 1, maxLength: 24 })), { maxLength: 5 });

export function changed(bytes: Buffer, all: readonly Change[]): Buffer {
  let result = Buffer.from(bytes);
  for (const [kind, place, piece] of all) {
    const at = Math.min(result.length, Math.floor(place * result.length));
    if (kind === 0) Buffer.from(piece).copy(result, at);
    else if (kind === 1) result = Buffer.concat([result.subarray(0, at), piece, result.subarray(at)]);
    else if (kind === 2) result = Buffer.concat([result.subarray(0, at), result.subarray(at + piece.length)]);
    else result = Buffer.concat([result.subarray(0, at), result.subarray(Math.max(0, at - 512))]);
  }
  return result;
}
