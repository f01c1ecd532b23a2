import { execFile, spawnSync } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort, type SpawnedProcess, spawnProcess, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { parse, stringify } from 'yaml';

const run = promisify(execFile);
/** Scrape configuration and rules, as they are shipped. */
export const PROMETHEUS_FOLDER = fileURLToPath(new URL('../../infra/prometheus', import.meta.url));

/** @throws Error in one line where there is no Prometheus on this machine. */
export function assertPrometheusInstalled(): void {
  for (const program of ['prometheus', 'promtool']) {
    if (spawnSync(program, ['--version']).error === undefined) continue;
    throw new Error(`${program} is not installed, and metrics cannot be tested: apt-get install prometheus`);
  }
}

/** Runs promtool. @throws Error with what it says */
export async function promtool(args: readonly string[], input?: string): Promise<void> {
  const running = run('promtool', args);
  running.child.stdin?.end(input ?? '');
  try {
    await running;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`promtool ${args.join(' ')}:\n${stdout}${stderr}`);
  }
}

/** A series with its value at one time. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** A running Prometheus. */
export interface Prometheus {
  readonly url: string;
  /** @throws Error with what Prometheus says of the query */
  query(expression: string): Promise<readonly Sample[]>;
  get<Data>(path: string): Promise<Data>;
  stop(): Promise<void>;
}

interface ScrapeConfig {
  readonly job_name: string;
  static_configs: { targets: readonly string[] }[];
}

/**
 * Starts a Prometheus with the shipped configuration and rules, on a port of its own, that looks every second.
 * @param targets of each job; the job names must be those of the configuration.
 */
export async function startPrometheus(
  targets: Readonly<Record<string, readonly string[]>>,
  metricsToken: string,
): Promise<Prometheus> {
  const folder = await temporaryDirectory('prometheus');
  const config = parse(await readFile(join(PROMETHEUS_FOLDER, 'prometheus.yml'), 'utf8'));
  config.global = { scrape_interval: '1s', evaluation_interval: '1s' };
  for (const scrape of config.scrape_configs as ScrapeConfig[]) {
    const hosts = targets[scrape.job_name];
    if (hosts === undefined) throw new Error(`No target for the job ${scrape.job_name}.`);
    scrape.static_configs = [{ targets: hosts }];
  }
  await writeFile(join(folder.path, 'prometheus.yml'), stringify(config));
  await writeFile(join(folder.path, 'metrics-token'), metricsToken);
  await copyFile(join(PROMETHEUS_FOLDER, 'rules.yml'), join(folder.path, 'rules.yml'));
  await promtool(['check', 'config', join(folder.path, 'prometheus.yml')]);

  const { child, url } = await launch(folder.path);
  async function get<Data>(path: string): Promise<Data> {
    const response = await fetch(`${url}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) });
    const answer = (await response.json()) as { status: string; error?: string; data: Data };
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  }
  return {
    url,
    get,
    query: async expression =>
      (await get<{ result: Sample[] }>(`query?query=${encodeURIComponent(expression)}`)).result,
    stop: async () => {
      await child.stop();
      await folder.remove();
    },
  };
}

/** Another process may take the port first: then on another. */
async function launch(folder: string): Promise<{ readonly child: SpawnedProcess; readonly url: string }> {
  for (let attempt = 1; ; attempt++) {
    const address = `127.0.0.1:${await freePort()}`;
    const child = await spawnProcess('prometheus', [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${address}`,
    ]);
    const url = `http://${address}`;
    try {
      await waitFor(
        async () => {
          if (child.child.exitCode !== null) return 'ended';
          return (await fetch(`${url}/-/ready`)).ok;
        },
        { timeoutMs: 30_000, what: 'Prometheus to be ready' },
      );
      if (child.child.exitCode === null) return { child, url };
      throw new Error('Prometheus ended at once.');
    } catch (error) {
      await child.stop();
      if (attempt === 3) throw new Error(`Prometheus did not start:\n${child.logs()}`, { cause: error });
    }
  }
}
