import type { InstalledApp } from '../catalog/apps-of-container.js';
import type { TemplateRecord } from '../catalog/records.js';

/** What the record of an OS template with app templates says beyond its definition. */
export interface TemplateApps {
  /** The OS template that they were installed on, and its tree then; null for a template without apps. */
  readonly base: string | null;
  readonly baseTree: string | null;
  readonly apps: readonly InstalledApp[];
  /** Commands that each new container runs, for what it must not share with others. */
  readonly remake: readonly string[];
}

/** The app templates that containers of a template start with. */
export function templateApps({ definition }: Pick<TemplateRecord, 'definition'>): TemplateApps {
  const recorded = definition === null ? {} : (JSON.parse(definition) as Partial<TemplateApps>);
  return { base: recorded.base ?? null, baseTree: recorded.baseTree ?? null, apps: recorded.apps ?? [], remake: recorded.remake ?? [] };
}
