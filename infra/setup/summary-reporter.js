import { writeFileSync } from 'node:fs';

/**
 * Vitest reporter that writes the totals of a run to the file named by ONEWRITER_TEST_SUMMARY, as JSON
 * `{passed, failed, skipped}`. What fails outside a test counts as a failure: a file that cannot be loaded, a hook, an
 * unhandled rejection. So does a test that was begun and has no result.
 */
export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const totals = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      totals.failed += module.errors().length;
      for (const suite of module.children.allSuites()) totals.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') totals.passed++;
        else if (state === 'skipped') totals.skipped++;
        else totals.failed++;
      }
    }
    const file = process.env.ONEWRITER_TEST_SUMMARY;
    if (file) writeFileSync(file, JSON.stringify(totals));
  }
}
