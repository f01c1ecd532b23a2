import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { tenantFile } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { WORKLOADS } from '../workloads.ts';
import { measureLoad, startLoad } from './measure-load.ts';
import { type ScaleContext, type ScalePart, type ScaleResult, stepsUpTo } from './scale-part.ts';

const STEPS_MIB = [1, 16, 256, 1_024];
const CALLERS = 16;
/** Length of a row's text: three rows fit on a page. */
const BODY_BYTES = 1_200;
const ROWS_PER_MIB = Math.floor(2 ** 20 / 4_096) * 3;

/** One file from a megabyte to gigabytes: updates of rows anywhere in it. */
export const scaleFile: ScalePart = {
  id: 'file',
  title: 'One large file',
  async measure({ environment, limits, say }: ScaleContext): Promise<ScaleResult> {
    const [server, broker] = [await environment.redis('onewriter'), await environment.broker()];
    const dataDir = await environment.folder('onewriter');
    const cpu: { x: number; y: number }[] = [];
    const latency: { x: number; y: number }[] = [];
    for (const mib of stepsUpTo(limits.maxFileMib, STEPS_MIB, limits.lastStepOnly)) {
      const tenant = `file-${mib}`;
      makeFile(tenantFile(dataDir, tenant), mib * ROWS_PER_MIB);
      const load = await startLoad({
        driver: { kind: 'sdk', redisUrl: server.url, dataDir },
        ...{ workload: 'update-anywhere', callers: CALLERS, choice: 'own', tenants: [tenant] },
      });
      try {
        const figures = await measureLoad(load, { broker: broker.pid, redis: server.pid() }, limits);
        cpu.push({ x: mib, y: figures.allCpuUs });
        latency.push({ x: mib, y: figures.p50Ms });
        say(
          `${mib} MiB: an update ${figures.allCpuUs.toFixed(0)} µs of CPU, p50 ${figures.p50Ms.toFixed(2)} ms`,
        );
      } finally {
        await load.close();
      }
    }
    return {
      facts: { fileMib: cpu.at(-1)!.x, fileCostRatio: cpu.at(-1)!.y / cpu[0]!.y },
      curves: [
        {
          ...{ id: 'file-cpu', title: 'CPU of an update by the size of the file' },
          ...{ xLabel: 'MiB', yLabel: 'CPU µs' },
          lines: [{ label: `an update anywhere (${CALLERS} callers)`, points: cpu, isFlat: true }],
        },
        {
          ...{ id: 'file-latency', title: 'Latency of an update by the size of the file' },
          ...{ xLabel: 'MiB', yLabel: 'ms' },
          lines: [{ label: `p50 (${CALLERS} callers)`, points: latency, isFlat: false }],
        },
      ],
    };
  },
};

/** A file as another program would have made it: the broker adopts it. */
function makeFile(path: string, rows: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const db = new Database(path);
  try {
    db.pragma('journal_mode = OFF');
    db.pragma('synchronous = OFF');
    db.exec(WORKLOADS.insert.schema.sqlite.join(';\n'));
    db.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO item(id, owner, title, body) SELECT i, 0, 'item ' || i, hex(zeroblob(${BODY_BYTES / 2})) FROM n`,
    ).run(rows);
    db.pragma('journal_mode = WAL');
  } finally {
    db.close();
  }
}
