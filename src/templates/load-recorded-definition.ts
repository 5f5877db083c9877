import type { TemplateDefinition } from './definition.js';
import { loadDefinition, type LoadOptions } from './load-definition.js';

/** What is recorded with a template that was made from a definition. */
export interface RecordedDefinition {
  /** With the flavors at its end. */
  readonly name: string;
  readonly flavors: readonly string[];
}

/** The definition's own name: `debian-12-x86_64` of `debian-12-x86_64-webserver`, made with the flavor webserver. */
export function definitionName({ name, flavors }: RecordedDefinition): string {
  const suffix = flavors.map((flavor) => `-${flavor}`).join('');
  return suffix !== '' && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}

/** Loads the definition that a template was made from, as it is now. @throws as `loadDefinition` */
export async function loadRecordedDefinition(recorded: RecordedDefinition, options: Omit<LoadOptions, 'flavors'> = {}): Promise<TemplateDefinition> {
  return loadDefinition(definitionName(recorded), { ...options, flavors: recorded.flavors });
}
