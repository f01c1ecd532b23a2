import { setTimeout as pause } from 'node:timers/promises';
import type { Onewriter } from '@onewriter/sdk';

/** Tenants that work as teams do: each at its own pace, with quiet and busy times. */
const TEAMS = [
  'acme',
  'aperture',
  'globex',
  'hooli',
  'initech',
  'pied-piper',
  'soylent',
  'stark-industries',
  'tyrell',
  'umbrella',
  'wayne',
  'wonka',
] as const;
const STATES = ['open', 'doing', 'review', 'done'] as const;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS tasks(
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',
    due TEXT
  );
  CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks(state, due);
  CREATE TABLE IF NOT EXISTS comments(
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    text TEXT NOT NULL
  );`;
/** A busy time comes back after this. */
const TIDE_MS = 100_000;

/** Lets the teams work until they are stopped. */
export async function runTeams(onewriter: Onewriter): Promise<{ stop(): Promise<void> }> {
  let stopped = false;

  async function work(team: string, index: number): Promise<void> {
    const tenant = onewriter.tenant(team);
    await tenant.exec(SCHEMA);
    const insert = tenant.prepare('INSERT INTO tasks(title, state, due) VALUES (?, ?, ?)');
    for (let turn = 0; !stopped; turn++) {
      const tide = 1 + Math.sin((Date.now() / TIDE_MS) * 2 * Math.PI + index) * 0.6;
      const writes = Math.max(1, Math.round((1 + ((index * 5) % 11)) * tide));
      const state = STATES[turn % STATES.length]!;
      // A tenant that is parked meanwhile has its writes wait: they end with their deadline.
      await Promise.allSettled(
        Array.from({ length: writes }, () => insert.run(`Task ${turn}`, state, '2026-12-01')),
      );
      await pause(60 + index * 12);
    }
  }

  const working = TEAMS.map(work);
  return {
    stop: async () => {
      stopped = true;
      await Promise.allSettled(working);
    },
  };
}
