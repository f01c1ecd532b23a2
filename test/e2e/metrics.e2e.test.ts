import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  type SpawnedProcess,
  type Stack,
  spawnProcess,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  assertPrometheusInstalled,
  PROMETHEUS_FOLDER,
  type Prometheus,
  promtool,
  startPrometheus,
} from './prometheus.ts';

/*
 * A real Prometheus scrapes a running Onewriter under load: two brokers, gateway, dashboard and the kanban.
 */

const KANBAN = fileURLToPath(new URL('../../apps/kanban/dist/main.js', import.meta.url));
const DASHBOARDS = fileURLToPath(new URL('../../infra/grafana/dashboards', import.meta.url));
const METRICS_TOKEN = 'a-token-for-metrics-alone';
/** How long rates may look back, with a scrape every second. */
const RATE_INTERVAL = '20s';

let stack: Stack;
let replicas: TemporaryDirectory[] = [];
let kanban: SpawnedProcess;
let kanbanUrl: string;
let prometheus: Prometheus;
let loading: Promise<void>;
let loaded = false;

beforeAll(async () => {
  assertPrometheusInstalled();
  replicas = [await temporaryDirectory('replica'), await temporaryDirectory('replica-copy')];
  stack = await startStack({
    args: ['--brokers', '2'],
    env: {
      ONEWRITER_METRICS_TOKEN: METRICS_TOKEN,
      ONEWRITER_REPLICA_URL: replicas.map(({ path }) => pathToFileURL(path).href).join(),
    },
  });
  kanban = await spawnProcess(process.execPath, [KANBAN], {
    ipc: true,
    env: {
      ...withoutSettings(),
      ONEWRITER_REDIS_URL: stack.redisUrl,
      ONEWRITER_DATA_DIR: stack.dataDir,
      KANBAN_PORT: '0',
    },
  });
  const { port } = await waitFor(() => kanban.messages[0] as { port: number } | undefined, {
    timeoutMs: 30_000,
    what: 'the kanban',
  });
  kanbanUrl = `http://127.0.0.1:${port}`;
  loading = load();
  prometheus = await startPrometheus(
    {
      'onewriter-broker': stack.brokerUrls.map(hostOf),
      'onewriter-gateway': [hostOf(stack.gatewayUrl)],
      'onewriter-dashboard': [hostOf(stack.dashboardUrl)],
      kanban: [hostOf(kanbanUrl)],
    },
    METRICS_TOKEN,
  );
});

afterAll(async () => {
  loaded = true;
  await loading;
  await prometheus?.stop();
  await kanban?.stop();
  await stack?.stop();
  await Promise.all(replicas.map(({ remove }) => remove()));
});

function hostOf(url: string): string {
  return new URL(url).host;
}

/** Writes, reads and mistakes of all kinds, through every API, until the end. */
async function load(): Promise<void> {
  const headers = { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' };
  const ask = async (url: string, body?: object) => {
    const signal = AbortSignal.timeout(30_000);
    const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(url, { headers, signal, ...request });
    await response.arrayBuffer();
  };
  const sql = (tenant: string, text: string, ...params: unknown[]) =>
    ask(`${stack.gatewayUrl}/v1/tenants/${tenant}/query`, { sql: text, params });
  // A tenant may be named like the rest of the top ten.
  const tenants = ['other', ...Array.from({ length: 12 }, (_, index) => `tenant-${index}`)];
  for (const tenant of tenants) await sql(tenant, 'CREATE TABLE items(id INTEGER PRIMARY KEY, text TEXT)');
  for (let id = 1; !loaded; id++) {
    await Promise.all([
      ...tenants.map(tenant => sql(tenant, 'INSERT INTO items VALUES (?, ?)', id, 'x'.repeat(100))),
      sql('other', 'INSERT INTO items VALUES (1, ?)', 'taken'),
      sql('other', 'SELECT text FROM items WHERE id = ?', id),
      sql('other', 'SELECT count(*) FROM items'),
      ask(`${stack.gatewayUrl}/v1/nothing`),
      ask(`${stack.dashboardUrl}/nothing`),
      ask(`${kanbanUrl}/t/acme/api/boards`, { title: `Board ${id}` }),
      ask(`${kanbanUrl}/t/acme/api/overview`),
    ]);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function metricsOf(url: string, token?: string): Promise<string> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/metrics`, { headers });
  if (!response.ok) throw new Error(`${url}/metrics: ${response.status}`);
  return response.text();
}

/** Metrics of prom-client's own whose names break a rule of promtool's: gauges that end in `_total`. */
const NOT_OURS = /^(# (HELP|TYPE) )?nodejs_active_(handles|requests|resources)_total\b/;

describe('/metrics', () => {
  it('passes promtool check metrics on every process', async () => {
    for (const url of [...stack.brokerUrls, stack.gatewayUrl, stack.dashboardUrl, kanbanUrl]) {
      const text = await metricsOf(url, METRICS_TOKEN);
      const ours = text.split('\n').filter(line => !NOT_OURS.test(line));
      await promtool(['check', 'metrics'], ours.join('\n'));
    }
  });

  it('of gateway and dashboard opens only to the token for metrics and to tokens for all tenants', async () => {
    for (const url of [stack.gatewayUrl, stack.dashboardUrl]) {
      await expect(metricsOf(url)).rejects.toThrow('401');
      await expect(metricsOf(url, 'another-token-of-some-length')).rejects.toThrow('401');
      expect(await metricsOf(url, stack.token)).toContain('onewriter_build_info');
    }
    const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
    expect((await fetch(`${stack.gatewayUrl}/v1/tenants`, { headers })).status).toBe(401);
    expect((await fetch(`${stack.dashboardUrl}/tenants`, { headers })).status).toBe(401);
  });

  it('names the ten largest tenants and the rest as other, also where a tenant has that name', async () => {
    const leader = await waitFor(
      async () => {
        const pages = await Promise.all(stack.brokerUrls.map(url => metricsOf(url)));
        return pages.find(page => (page.match(/^onewriter_tenant_writes_per_second\{/gm) ?? []).length >= 10);
      },
      { timeoutMs: 30_000, what: 'ten busy tenants' },
    );
    const named = leader.match(/^onewriter_tenant_writes_per_second\{tenant="[^"]+"\}/gm) ?? [];
    expect(named.length).toBeLessThanOrEqual(11);
    expect(new Set(named).size).toBe(named.length);
    expect(named.filter(series => series.includes('"other"'))).toHaveLength(1);
  });
});

describe('Prometheus', () => {
  it('reaches every target', async () => {
    await waitFor(
      async () => {
        const up = await prometheus.query('up');
        const well = up.filter(({ value }) => value[1] === '1').map(({ metric }) => metric['job']);
        expect(well.toSorted()).toEqual([
          'kanban',
          'onewriter-broker',
          'onewriter-broker',
          'onewriter-dashboard',
          'onewriter-gateway',
        ]);
        return true;
      },
      { timeoutMs: 60_000, what: 'all targets to be up' },
    );
  });

  it('accepts the rules, which fire when they should', async () => {
    await promtool(['check', 'rules', join(PROMETHEUS_FOLDER, 'rules.yml')]);
    await promtool(['test', 'rules', join(PROMETHEUS_FOLDER, 'rules-test.yml')]);
  });

  it('evaluates every alert over metrics that exist', async () => {
    interface Rule {
      readonly name: string;
      readonly query: string;
      readonly health: string;
      readonly lastError?: string;
      readonly state: string;
    }
    const rules = await waitFor(
      async () => {
        const { groups } = await prometheus.get<{ groups: { rules: Rule[] }[] }>('rules');
        const all = groups.flatMap(group => group.rules);
        return all.length > 0 && all.every(rule => rule.health !== 'unknown') ? all : undefined;
      },
      { timeoutMs: 60_000, what: 'the first evaluation' },
    );
    expect(rules.filter(rule => rule.health !== 'ok')).toEqual([]);
    const names = new Set(
      rules.flatMap(({ query }) => query.match(/\b(?:onewriter|nodejs|process)_\w+/g) ?? []),
    );
    expect(names.size).toBeGreaterThan(20);
    for (const name of names) await untilThereIsData(`{__name__="${name}"}`);
    // All is well here. (A loaded machine may have slow commits and late timers.)
    const firing = rules.filter(rule => rule.state === 'firing').map(rule => rule.name);
    expect(firing.filter(name => !/Slow|Delayed|Busy|Held|Disk/.test(name))).toEqual([]);
  });

  it('returns data for every query of every Grafana dashboard', async () => {
    const files = await readdir(DASHBOARDS);
    expect(files.length).toBeGreaterThanOrEqual(4);
    let queries = 0;
    for (const file of files) {
      const { panels, uid } = JSON.parse(await readFile(join(DASHBOARDS, file), 'utf8'));
      expect(`${uid}.json`).toBe(file);
      for (const panel of panels as { title: string; targets?: { expr: string }[] }[]) {
        for (const { expr } of panel.targets ?? []) {
          queries++;
          await untilThereIsData(
            expr.replaceAll('$__rate_interval', RATE_INTERVAL),
            `${file}, ${panel.title}`,
          );
        }
      }
    }
    expect(queries).toBeGreaterThan(60);
  });
});

/** Rates have their first value at the second look, and a quantile of nothing is no number. */
async function untilThereIsData(query: string, what = 'data'): Promise<void> {
  await waitFor(
    async () => {
      const samples = await prometheus.query(query);
      return samples.some(({ value }) => value[1] !== 'NaN');
    },
    { timeoutMs: 30_000, intervalMs: 250, what: `${what}: ${query}` },
  );
}
