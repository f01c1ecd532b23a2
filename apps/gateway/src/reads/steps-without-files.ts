import { OnewriterError } from '@onewriter/protocol';
import type { StepProcesses } from './read-steps.ts';

/**
 * Reads of libSQL where only the broker may open files. A process here that opened one, after the broker had closed it as idle, would
 * keep the broker from it, and with it all writes.
 */
export const STEPS_WITHOUT_FILES: StepProcesses = {
  isWithoutFiles: true,
  runSteps: (_task, _options, _begin, refuse) => {
    const message =
      'On a network file system only the broker opens files: read by POST /v1/tenants/…/query or the drop-in routes, or after BEGIN IMMEDIATE.';
    refuse(new OnewriterError('STATEMENT_NOT_ALLOWED', message));
  },
  release: () => {},
};
