import type { ChildPids } from '../run-file.ts';
import type { Stack } from './run-stack.ts';

/** The one line that `onewriter up --json` prints. */
export interface ReadyEvent {
  readonly event: 'ready';
  readonly gatewayUrl: string;
  readonly dashboardUrl: string;
  readonly redisUrl: string;
  readonly dataDir: string;
  /** A token for all tenants, with access `admin`. */
  readonly token: string;
  readonly pids: ChildPids;
  /** In the order of `pids.brokers`. */
  readonly brokerUrls: readonly string[];
}

export function readyEvent({ run, token }: Pick<Stack, 'run' | 'token'>): ReadyEvent {
  const { gatewayUrl, dashboardUrl, redisUrl, dataDir, pids, brokerUrls } = run;
  return { event: 'ready', gatewayUrl, dashboardUrl, redisUrl, dataDir, token, pids, brokerUrls };
}

/** Where everything is, and a first request, for people. */
export function describeReady({ run, token, leaderUrl }: Pick<Stack, 'run' | 'token' | 'leaderUrl'>): string {
  const brokers = run.brokerUrls.map(url => `${url} ${url === leaderUrl ? 'leads' : 'stands by'}`);
  return `
Onewriter is ready.

  gateway    ${run.gatewayUrl}
  dashboard  ${run.dashboardUrl}
  broker     ${brokers.join('\n             ')}
  Redis      ${run.redisUrl}
  data       ${run.dataDir}
  token      ${token}
             (all tenants, admin; also the dashboard's login)

A first write and read:

${exampleRequest(run.gatewayUrl, token)}

Ctrl-C drains and stops everything.

`;
}

/** A curl command on one line that works as printed in any POSIX shell, any number of times. */
export function exampleRequest(gatewayUrl: string, token: string): string {
  const body = {
    tenantId: 'demo',
    queries: [
      { query: 'CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL)' },
      { query: 'INSERT INTO notes(text) VALUES (?) RETURNING id, text', params: ['hello'] },
    ],
  };
  return (
    `curl -sS ${gatewayUrl}/transaction -H 'authorization: Bearer ${token}' ` +
    `-H 'content-type: application/json' -d '${JSON.stringify(body)}'`
  );
}
