import { parseArgs } from 'node:util';
import { connect } from '@onewriter/sdk';
import { loadKanbanConfig } from '../kanban-config.ts';
import { log } from '../log.ts';
import { runLoad } from './run-load.ts';

/*
 * One process of load: `node dist/load/main.js --tenants acme,globex --actor a --seed 1 --operations 500`. Prints
 * a LoadReport as one line of JSON. The environment says where Onewriter is, as for the kanban server.
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

const { redisUrl, dataDir, group, dbFile } = loadKanbanConfig();
await using onewriter = await connect({ redis: redisUrl, dataDir, group, dbFile, logger: log });
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
