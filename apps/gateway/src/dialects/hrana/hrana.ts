import type { ReadSteps } from '../../reads/read-steps.ts';
import type { StreamRunner } from './stream-runner.ts';
import type { StreamRegistry } from './streams.ts';

/** What the libSQL protocol is made of. */
export interface Hrana {
  readonly streams: StreamRegistry;
  readonly runner: StreamRunner;
  readonly reads: ReadSteps;
  /** A tenant without a file is one without tables. */
  readonly createTenants: boolean;
  /** `db.example.com`: `acme.db.example.com` is the tenant acme. */
  readonly hostDomain: string | undefined;
}
