#!/usr/bin/env node
// Starts the built command line. This file is plain JavaScript that any Node can read, so that a checkout that is not
// built yet, or a Node that is too old, gets an answer and no stack trace.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
const program = new URL('../dist/cli/main.js', import.meta.url);

function refuse(message, hint) {
  if (process.argv.includes('--json')) {
    process.stderr.write(`${JSON.stringify({ error: { code: 'FAILED', message, hint } })}\n`);
  } else {
    process.stderr.write(`templatefs: ${message}\n  hint: ${hint}\n`);
  }
  process.exit(1);
}

if (major < 20 || (major === 20 && minor < 15)) {
  refuse(`Node.js ${process.versions.node} is too old`, 'install Node.js 20.15 or newer');
}
if (!existsSync(program)) refuse('this checkout is not built', 'run: npm run setup');

const { main } = await import(program.href);
process.exit(await main(process.argv.slice(2)));
