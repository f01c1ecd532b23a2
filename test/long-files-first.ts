import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Test files that take half a minute and longer, the longest first. In a fresh clone vitest knows no durations and starts large
 * files first: what is long and small would start last, and end long after all others.
 */
export const LONG_FILES: readonly string[] = [
  'test/attacks/attacks.e2e.test.ts',
  'test/e2e/redis-setups.e2e.test.ts',
  'test/e2e/up.e2e.test.ts',
  'test/e2e/cli-operate.e2e.test.ts',
  'test/e2e/cut-off-changes.e2e.test.ts',
  'test/e2e/holds.e2e.test.ts',
  'test/e2e/exports.e2e.test.ts',
  'test/e2e/second-redis.e2e.test.ts',
  'test/e2e/operations.e2e.test.ts',
  'test/dumps/dumps.e2e.test.ts',
  'test/e2e/loads.e2e.test.ts',
  'test/e2e/parked-tenant.e2e.test.ts',
  'test/e2e/endless-statement.e2e.test.ts',
  'test/e2e/broker.e2e.test.ts',
  'test/conformance/migrations.e2e.test.ts',
  'test/e2e/dashboard-pages.e2e.test.ts',
  'test/e2e/adopt.e2e.test.ts',
  'test/bench/bench.e2e.test.ts',
  'test/e2e/dashboard.e2e.test.ts',
  'test/e2e/holds.e2e.test.ts',
  'test/e2e/on-call.e2e.test.ts',
];

/** Starts {@link LONG_FILES} before the others of their group. */
export class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { root } = this.ctx.config;
    const placeOf = ({ moduleId }: TestSpecification) => {
      const place = LONG_FILES.indexOf(relative(root, moduleId));
      return place === -1 ? LONG_FILES.length : place;
    };
    // A stable sort: the others keep their order.
    return (await super.sort(files)).sort((a, b) => placeOf(a) - placeOf(b));
  }
}
