import { expect, it } from 'vitest';
import { createReadSteps } from './read-steps.ts';
import { STEPS_WITHOUT_FILES } from './steps-without-files.ts';

it('refuses to open a file, with what to do', async () => {
  const reads = createReadSteps(STEPS_WITHOUT_FILES);
  const request = { tenant: 'acme', steps: [], emptyIfMissing: false };
  const refusal = { code: 'STATEMENT_NOT_ALLOWED', message: expect.stringMatching(/BEGIN IMMEDIATE/) };
  await expect(reads.run(request)).rejects.toMatchObject(refusal);
  await expect(reads.stream(request).next()).rejects.toMatchObject(refusal);
});
