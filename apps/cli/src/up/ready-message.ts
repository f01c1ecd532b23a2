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

/**
 * Where everything is, and a first request, for people.
 * @param showToken false where it would end in a log: then a command that signs one stands in its place
 */
export function describeReady(
  { run, token, leaderUrl }: Pick<Stack, 'run' | 'token' | 'leaderUrl'>,
  showToken: boolean,
): string {
  const sign = `npx onewriter token --tenants '*' --access admin --data-dir ${quote(run.dataDir)}`;
  const brokers = run.brokerUrls.map(url => `${url} ${url === leaderUrl ? 'leads' : 'stands by'}`);
  return `
Onewriter is ready.

  gateway    ${run.gatewayUrl}
  dashboard  ${run.dashboardUrl}
  broker     ${brokers.join('\n             ')}
  Redis      ${withoutPassword(run.redisUrl)}
  data       ${run.dataDir}
  replica    ${run.replicaUrl ?? 'none (set ONEWRITER_REPLICA_URL)'}
  token      ${showToken ? token : sign}
             (all tenants, admin; also the dashboard's login)

A first write and read:

${exampleRequest(run.gatewayUrl, showToken ? token : `$(${sign})`)}

Ctrl-C drains and stops everything.

`;
}

/** A curl command on one line that works as printed in any POSIX shell, any number of times. */
function exampleRequest(gatewayUrl: string, token: string): string {
  const body = {
    tenantId: 'demo',
    queries: [
      { query: 'CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL)' },
      { query: 'INSERT INTO notes(text) VALUES (?) RETURNING id, text', params: ['hello'] },
    ],
  };
  return (
    `curl -sS ${gatewayUrl}/transaction -H "authorization: Bearer ${token}" ` +
    `-H 'content-type: application/json' -d '${JSON.stringify(body)}'`
  );
}

/** The password stands in the run file, which only its owner can read. */
function withoutPassword(redisUrl: string): string {
  if (!URL.canParse(redisUrl)) return redisUrl;
  const url = new URL(redisUrl);
  if (url.password !== '') url.password = '***';
  return url.href;
}

/** For a shell. */
function quote(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
