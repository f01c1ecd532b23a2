import { parseArgs } from 'node:util';
import { connect } from '@onewriter/sdk';
import { runLoad } from './run-load.ts';

/*
 * One process of load: `node test/kanban/dist/main.js --tenants acme,globex --actor a --seed 1 --operations 500`. Prints
 * a LoadReport as one line of JSON. ONEWRITER_REDIS_URL and ONEWRITER_DATA_DIR say
 * where Onewriter is.
 */

const { values } = parseArgs({
  options: {
    tenants: { type: 'string' },
    actor: { type: 'string', default: 'a' },
    seed: { type: 'string', default: '1' },
    operations: { type: 'string', default: '100' },
    boards: { type: 'string', default: '1' },
    'cards-per-board': { type: 'string', default: '20' },
    pipeline: { type: 'string', default: '16' },
  },
});
const tenants = values.tenants?.split(',') ?? [];
if (tenants.length === 0) throw new TypeError('Name the tenants: --tenants acme,globex');

const { ONEWRITER_REDIS_URL: redis, ONEWRITER_DATA_DIR: dataDir } = process.env;
if (redis === undefined) throw new TypeError('Set ONEWRITER_REDIS_URL.');
await using onewriter = await connect({ redis, dataDir });
const report = await runLoad(onewriter, {
  tenants,
  actor: values.actor,
  seed: Number(values.seed),
  operations: Number(values.operations),
  boards: Number(values.boards),
  cardsPerBoard: Number(values['cards-per-board']),
  pipeline: Number(values.pipeline),
});
process.stdout.write(`${JSON.stringify(report)}\n`);
