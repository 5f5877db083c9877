/** A container that a command makes for itself: `temporary-PID-START-RANDOM`. */
export const TEMPORARY_NAME = /^temporary-([0-9]+)-([0-9]+)-[0-9a-f]+$/;

/** Whether it is one, which may be gone the next moment: no command that is about all containers means it. */
export function isTemporary(name: string): boolean {
  return TEMPORARY_NAME.test(name);
}
