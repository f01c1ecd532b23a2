import { writeFile } from 'node:fs/promises';
import { createProgram } from '../program.ts';
import { formatReference } from './format-reference.ts';

/* `npm run docs`: writes docs/cli.md. */

const page = new URL('../../../../docs/cli.md', import.meta.url);
await writeFile(page, formatReference(createProgram(() => {})));
