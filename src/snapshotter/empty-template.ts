import { EMPTY_TEMPLATE } from '../core/containerd-names.js';
import { TemplatefsError } from '../core/errors.js';
import { addTemplate } from '../service/add-template.js';
import { openForReading, type ServiceContext } from '../service/context.js';
import { finishImport } from '../store/finish-import.js';
import { Hierarchy } from '../store/hierarchy.js';
import { ObjectBatch } from '../store/object-batch.js';

let making: Promise<unknown> | undefined;

/** Makes the template of an empty root, unless it is there. */
export async function ensureEmptyTemplate(context: ServiceContext): Promise<void> {
  {
    using opened = openForReading(context);
    if (opened.catalog.template(EMPTY_TEMPLATE) !== undefined) return;
  }
  making ??= make(context).finally(() => (making = undefined));
  await making;
}

async function make(context: ServiceContext): Promise<void> {
  try {
    await addTemplate(context, {
      name: EMPTY_TEMPLATE,
      refresh: false,
      source: 'containerd',
      definition: null,
      importTree: async () => {
        const batch = await ObjectBatch.open(context.paths);
        try {
          return await finishImport(context.paths, batch, new Hierarchy());
        } finally {
          await batch.abandon();
        }
      },
    });
  } catch (error) {
    // Somebody else has made it meanwhile.
    if (!(error instanceof TemplatefsError && error.code === 'TEMPLATE_EXISTS')) throw error;
  }
}
