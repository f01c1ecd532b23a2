import { appendFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type SpawnedProcess, spawnProcess, waitFor } from '@onewriter/testkit';
import type { ClientOrder, ClientReport, ClientSettings } from './client-settings.ts';
import { FaultFailure } from './fault-failure.ts';
import { describeExit } from './supervised-process.ts';

const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './dist/client-main.js' : './client-main.js', import.meta.url),
);

/** A running client. */
export class ClientProcess {
  readonly settings: ClientSettings;
  readonly #process: SpawnedProcess;
  readonly #logFile: string;
  /** Killed by the fault. */
  #killed = false;

  private constructor(settings: ClientSettings, process: SpawnedProcess, logFile: string) {
    this.settings = settings;
    this.#process = process;
    this.#logFile = logFile;
  }

  /** Starts a client; it writes when this resolves. */
  static async start(
    settings: ClientSettings,
    logFile: string,
    env: Record<string, string> = {},
  ): Promise<ClientProcess> {
    const child = await spawnProcess(process.execPath, [MAIN, JSON.stringify(settings)], { ipc: true, env });
    const client = new ClientProcess(settings, child, logFile);
    await waitFor(() => child.messages.length > 0 || client.#ended, {
      timeoutMs: 20_000,
      what: `client ${settings.client}`,
      intervalMs: 5,
    });
    client.assertAlive();
    return client;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Writes reported committed, a moment ago. */
  get committed(): number {
    return this.#progress?.committed ?? 0;
  }

  /** Resident memory, a moment ago. */
  get rssBytes(): number {
    return this.#progress?.rssBytes ?? 0;
  }

  /** @throws FaultFailure where it ended without a signal from the rig. */
  assertAlive(): void {
    if (!this.#ended || this.#killed) return;
    const { exitCode: code, signalCode: signal } = this.#process.child;
    throw new FaultFailure(
      `Client ${this.settings.client} ended unexpectedly (${describeExit({ code, signal })}):\n${this.#process.logs().slice(-4_000)}`,
    );
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.#killed = true;
    this.#process.kill('SIGKILL');
    await this.#process.exited;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Lets it finish and end. @throws FaultFailure where it does not. */
  async finish(askMs: number, timeoutMs: number): Promise<void> {
    this.assertAlive();
    const order: ClientOrder = { type: 'finish', askMs };
    this.#process.child.send(order);
    const late = setTimeout(() => this.#process.kill('SIGKILL'), timeoutMs);
    const exit = await this.#process.exited;
    clearTimeout(late);
    const logs = this.#process.logs();
    if (logs !== '') appendFileSync(this.#logFile, logs);
    if (exit.code !== 0) {
      throw new FaultFailure(
        `Client ${this.settings.client} did not finish within ${timeoutMs} ms (${describeExit(exit)}):\n${logs.slice(-4_000)}`,
      );
    }
  }

  /** Ends it, whatever it does. */
  async destroy(): Promise<void> {
    this.#killed = true;
    if (this.#ended) return;
    this.#process.kill('SIGKILL');
    await this.#process.exited;
  }

  get #ended(): boolean {
    return this.#process.child.exitCode !== null || this.#process.child.signalCode !== null;
  }

  get #progress(): Extract<ClientReport, { type: 'progress' }> | undefined {
    const last = this.#process.messages.at(-1) as ClientReport | undefined;
    return last?.type === 'progress' ? last : undefined;
  }
}
