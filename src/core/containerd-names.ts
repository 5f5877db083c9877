/** Templates and containers that are snapshots of containerd are called `containerd-<id>`. */
const NAME = /^containerd-([1-9]\d{0,14})$/;

/** The template of which layers without a parent are made: an empty root. */
export const EMPTY_TEMPLATE = 'containerd-empty';

export function containerdName(id: number): string {
  return `containerd-${id}`;
}

/** @returns undefined for the name of anything else */
export function containerdId(name: string): number | undefined {
  const match = NAME.exec(name);
  return match === null ? undefined : Number(match[1]);
}
