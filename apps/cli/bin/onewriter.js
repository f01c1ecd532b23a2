#!/usr/bin/env node
// Checked in, so that npm can link it before the first build.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  process.stderr.write('onewriter: not built yet; run: npm run build\n');
  process.exitCode = 1;
}
