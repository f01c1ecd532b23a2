import { Agent, request } from 'node:http';
import { mergeLatencies, percentile } from '../load/latencies.ts';
import { cpuSecondsOf, residentMibOf } from '../measure/process-usage.ts';
import { startLoad, toFigures } from './measure-load.ts';
import type { ScaleContext, ScaleCurve, ScalePart, ScaleResult } from './scale-part.ts';

const IMPORTS = [1, 8, 24];
/** A gateway refuses more of one tenant. */
const MOST_OF_TENANT = 8;
/** Others, who read and write (nine to one) through the same gateway. */
const OTHERS = 2;
const SAMPLE_MS = 100;
/** Others are measured in turns of so many ms, until the imports have ended. */
const TURN_MS = 500;
const TABLE = 'CREATE TABLE imported(id INTEGER, name TEXT, n INTEGER)';

/** The two lines of a curve over the number of imports. @param isFlat whether the cost should not grow */
function importLines(
  one: readonly Point[],
  each: readonly Point[],
  isFlat: boolean,
): Pick<ScaleCurve, 'xLabel' | 'lines'> {
  return {
    xLabel: 'imports at once',
    lines: [
      { label: 'of one tenant', points: one, isFlat },
      { label: 'of a tenant each', points: each, isFlat },
    ],
  };
}

/** One import, and many at once: of one tenant, and of a tenant each. */
export const scaleImports: ScalePart = {
  id: 'imports',
  title: 'Imports at once',
  async measure({ environment, limits, say }: ScaleContext): Promise<ScaleResult> {
    const [gateway, broker] = [await environment.gateway(), await environment.broker()];
    const server = await environment.redis('onewriter');
    const headers = { authorization: `Bearer ${gateway.token}` };
    const rows = limits.importRows;
    const body = Buffer.from(
      Array.from(
        { length: rows },
        (_, id) => `{"id":${id},"name":"row ${id} with some text in it","n":${id * 7}}\n`,
      ).join(''),
    );
    const others = await startLoad({
      driver: { kind: 'http', url: gateway.url, token: gateway.token, connections: OTHERS },
      ...{ workload: 'mixed', callers: OTHERS, choice: 'own', tenants: ['others'] },
    });
    const pids = { gateway: gateway.pid, broker: broker.pid, redis: server.pid() };
    const cpuOf = () => Object.values(pids).reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
    const turn = () => others.run({ beginAt: Date.now(), warmupMs: 0, measureMs: TURN_MS, pids });
    const facts: Record<string, number> = {};
    const lines = { one: [] as Point[], each: [] as Point[], p99One: [] as Point[], p99Each: [] as Point[] };
    const memory = { one: [] as Point[], each: [] as Point[] };
    try {
      const idle = toFigures([await turn(), await turn(), await turn()]);
      facts['othersIdleP99Ms'] = idle.p99Ms;
      for (const kind of ['one', 'each'] as const) {
        for (const imports of IMPORTS) {
          if (kind === 'one' && imports > MOST_OF_TENANT) continue;
          const tenants = Array.from(
            { length: imports },
            (_, index) => `imports-${kind}-${imports}-${kind === 'one' ? 0 : index}`,
          );
          for (const tenant of new Set(tenants)) {
            await post(`${gateway.url}/v1/tenants/${tenant}/script`, headers, JSON.stringify({ sql: TABLE }));
          }
          let peakMib = 0;
          const sampler = setInterval(() => {
            peakMib = Math.max(peakMib, residentMibOf(gateway.pid));
          }, SAMPLE_MS);
          try {
            const [started, cpuBefore] = [performance.now(), cpuOf()];
            let ended = false;
            const all = Promise.all(
              tenants.map(tenant =>
                post(`${gateway.url}/v1/tenants/${tenant}/import?table=imported`, headers, body, NDJSON),
              ),
            ).finally(() => {
              ended = true;
            });
            const turns = [];
            while (!ended) turns.push(await turn());
            for (const answer of await all) assertDone(answer, rows);
            const seconds = (performance.now() - started) / 1_000;
            const cpu = ((cpuOf() - cpuBefore) * 1_000_000) / (imports * rows);
            const p99 = percentile(mergeLatencies(turns.map(run => run.latencies)), 0.99);
            lines[kind].push({ x: imports, y: cpu });
            lines[kind === 'one' ? 'p99One' : 'p99Each'].push({ x: imports, y: p99 });
            memory[kind].push({ x: imports, y: peakMib });
            facts['importRowsPerSecond'] = (imports * rows) / seconds;
            facts['importGatewayMib'] = Math.max(facts['importGatewayMib'] ?? 0, peakMib);
            facts['importOthersP99Ms'] = Math.max(facts['importOthersP99Ms'] ?? 0, p99);
            say(
              `${imports} imports of ${kind === 'one' ? 'one tenant' : 'a tenant each'}: ${((imports * rows) / seconds).toFixed(0)} rows/s, ` +
                `${cpu.toFixed(1)} µs of CPU a row, gateway ${peakMib.toFixed(0)} MiB, others' p99 ${p99.toFixed(1)} ms (idle ${idle.p99Ms.toFixed(1)})`,
            );
          } finally {
            clearInterval(sampler);
          }
        }
      }
    } finally {
      await others.close();
      agent.destroy();
    }
    return {
      facts,
      curves: [
        {
          ...{ id: 'imports-cpu', title: 'CPU of an imported row', yLabel: 'CPU µs' },
          ...importLines(lines.one, lines.each, true),
        },
        {
          ...{ id: 'imports-memory', title: 'Memory of the gateway', yLabel: 'MiB' },
          ...importLines(memory.one, memory.each, false),
        },
        {
          ...{ id: 'imports-others', title: 'Others beside imports, p99', yLabel: 'ms' },
          ...importLines(lines.p99One, lines.p99Each, false),
        },
      ],
    };
  },
};

interface Point {
  readonly x: number;
  readonly y: number;
}

const NDJSON = 'application/x-ndjson';
const agent = new Agent({ keepAlive: true });

/** Not fetch(): it would copy the body into chunks of its own, in the process that measures. */
function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Buffer | string,
  type = 'application/json',
): Promise<string> {
  return new Promise((resolve, reject) => {
    const sending = request(
      url,
      { method: 'POST', agent, headers: { ...headers, 'content-type': type } },
      answer => {
        const chunks: Buffer[] = [];
        answer.on('data', chunk => chunks.push(chunk as Buffer));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (answer.statusCode === 200) resolve(text);
          else reject(new Error(`${url}: ${answer.statusCode} ${text}`));
        });
      },
    );
    sending.on('error', reject);
    sending.end(body);
  });
}

function assertDone(answer: string, rows: number): void {
  const end = JSON.parse(answer.trimEnd().split('\n').at(-1)!) as { event: string; accepted: number };
  if (end.event !== 'done' || end.accepted !== rows)
    throw new Error(`An import ended with ${JSON.stringify(end)}.`);
}
