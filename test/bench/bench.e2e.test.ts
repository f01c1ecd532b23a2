import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isAlive, waitFor } from '@onewriter/testkit';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const BENCH = fileURLToPath(new URL('.', import.meta.url));
const TSC = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

async function bench(...args: readonly string[]) {
  const env = { ...process.env, BENCH_SCALE_FILE_MIB: '1', BENCH_SCALE_IMPORT_ROWS: '500' };
  const { stdout } = await promisify(execFile)(process.execPath, [`${BENCH}dist/main.js`, ...args], { env });
  return stdout;
}

/* That the benchmark works; what it measures in half a second means nothing. */
describe('the benchmark', () => {
  beforeAll(async () => {
    await promisify(execFile)(process.execPath, [TSC, '-p', BENCH]);
  });

  it('lets all take turns at equal durability, and counts what was written', async () => {
    const args = [
      '--quick',
      '--only',
      'insert-256,gateway-insert,owner-beside',
      '--peers',
      'proxy,sqlite-100',
    ];
    const report = JSON.parse(await bench(...args, '--rounds', '1', '--seconds', '0.5', '--json'));
    const figures = report.results.flatMap((result: { figures: unknown[] }) => result.figures);
    expect(figures.map((one: { contestant: string }) => one.contestant)).toEqual([
      ...['onewriter', 'proxy', 'sqlite-100', 'gateway', 'proxy', 'onewriter', 'beside-owner'],
    ]);
    for (const { perSecond, proof } of figures) {
      expect(perSecond).toBeGreaterThan(0);
      expect(proof).toBe('synchronous=2');
    }
    const judged = report.targets.filter((target: { passed?: boolean }) => target.passed !== undefined);
    expect(judged).toHaveLength(4);
  });

  it('measures what grows, and makes the table of sizes of it', async () => {
    const report = JSON.parse(await bench('--scale', '--quick', '--only', 'file,imports', '--json'));
    expect(report.parts.map(({ id }: { id: string }) => id)).toEqual(['file', 'imports']);
    for (const { result } of report.parts) {
      for (const { lines } of result.curves) {
        for (const { points } of lines) {
          expect(points.length).toBeGreaterThan(0);
          for (const { y } of points) expect(y).toBeGreaterThan(0);
        }
      }
    }
    const table = await bench('--scale', '--quick', '--sizing');
    expect(table).toMatch(/^\| what \| measured \|\n/);
    expect(table).toMatch(/\| memory of the gateway with 24 imports at once \| \d+ MiB \|/);
  });

  it('ends what it has started when it is ended', async () => {
    const args = ['--quick', '--only', 'insert-1', '--rounds', '1', '--seconds', '30'];
    const child = spawn(process.execPath, [`${BENCH}dist/main.js`, ...args], { stdio: 'ignore' });
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = once(child, 'close');
    const started = () => {
      const pids = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
      const commands = pids.filter(pid => isAlive(Number(pid))).map(commandOf);
      return commands.some(command => command.includes('redis-server')) &&
        commands.some(command => command.includes('broker'))
        ? pids.map(Number)
        : undefined;
    };
    const pids = await waitFor(started, { timeoutMs: 60_000, what: 'a broker and its Redis' });
    child.kill('SIGTERM');
    expect((await ended)[0]).toBe(143);
    await waitFor(() => !pids.some(isAlive), { what: 'the end of its processes' });
  });

  it('names what there is when it is asked for something else', async () => {
    await expect(bench('--only', 'everything')).rejects.toThrow(
      /no scenario everything; there are insert-1,/,
    );
    await expect(bench('--scale', '--only', 'everything')).rejects.toThrow(
      /no part everything; there are tenants, turns, file, clients, imports/,
    );
  });
});
