import { defineConfig } from 'vitest/config';

/*
 * Two projects: `unit` beside the code, and `e2e` against the built packages with real Redis servers, real files and
 * real processes. `npm test` builds first; alone: `npx vitest run --project unit shared/protocol`.
 */
export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{shared,workers,apps}/*/src/**/*.test.ts', 'infra/**/*.test.ts'],
          testTimeout: 15_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/**/*.e2e.test.ts'],
          setupFiles: ['./test/leak-check.ts'],
          // One file at a time: each starts several processes, and timing tests need the cores.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
