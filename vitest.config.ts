import { defineConfig } from 'vitest/config';
import { writeLuaScripts } from './infra/setup/lua-scripts.js';
import { LongFilesFirst } from './test/long-files-first.ts';

/*
 * Three projects, one after the other: `unit` beside the code; `e2e` against the built packages with real Redis servers, real
 * files and real processes; `faults`, of which latencies are asserted. `npm test` builds first; alone:
 * `npx vitest run --project unit shared/protocol`.
 */

// Unit tests import the sources, which may not be built yet.
writeLuaScripts();

const AGAINST_PROCESSES = {
  setupFiles: ['./test/leak-check.ts'],
  testTimeout: 120_000,
  hookTimeout: 120_000,
};

export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    sequence: { sequencer: LongFilesFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{shared,workers,apps}/*/src/**/*.test.ts', 'infra/**/*.test.ts'],
          testTimeout: 60_000,
          // Vitest leaves a core free, which is half of a machine with two.
          maxWorkers: '100%',
        },
      },
      {
        test: {
          ...AGAINST_PROCESSES,
          name: 'e2e',
          include: ['test/**/*.e2e.test.ts'],
          exclude: ['test/faults/**'],
          // Each file starts several processes and waits for them most of the time.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...AGAINST_PROCESSES,
          name: 'faults',
          include: ['test/faults/**/*.e2e.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
