import type { Command } from 'commander';
import type { Session } from './session.js';

/** What the files of commands need from main: a session, and somebody to hand errors and exit statuses to. */
export interface CommandHost {
  /** Runs the work of a command; it may give an exit status other than 0. */
  run(command: Command, work: (session: Session) => Promise<number | undefined>): Promise<void>;
}

/** Gathers the values of an option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** Names from options that take several with commas between them. */
export function parseNames(values: readonly string[] = []): string[] {
  return [...new Set(values.flatMap((value) => value.split(',')).map((name) => name.trim()).filter((name) => name !== ''))];
}

/** Examples below the help of a command. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
