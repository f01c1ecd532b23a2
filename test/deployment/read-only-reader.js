import { connect } from '@onewriter/sdk';

/*
 * An app whose data directory is mounted read-only. Given a tenant on standard input, it reads the tenant's rows and
 * prints `{"rows":[…],"through":"gateway" | "owner" | "file"}`.
 */

const { REDIS_URL, DATA_DIR, GATEWAY_URL, TOKEN } = process.env;
let through = 'file';
const onewriter = await connect({
  redis: REDIS_URL,
  dataDir: DATA_DIR,
  gatewayUrl: GATEWAY_URL,
  token: TOKEN,
  logger: {
    warn: (_facts, message) => {
      through = /reading through the (\w+)/.exec(message)?.[1] ?? through;
    },
    error: () => {},
  },
});

for await (const chunk of process.stdin) {
  const tenant = String(chunk).trim();
  const rows = await onewriter.tenant(tenant).prepare('SELECT n FROM t ORDER BY n').all();
  process.stdout.write(`${JSON.stringify({ rows: rows.map(({ n }) => n), through })}\n`);
}
await onewriter.close();
