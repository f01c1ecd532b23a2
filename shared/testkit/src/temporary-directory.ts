import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trackHandle } from './live-handles.ts';

/** A folder that is gone when it is removed, or when the test process exits. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
  /** Deletes the folder and all in it. Idempotent. */
  remove(): Promise<void>;
}

/** Creates an empty folder of the caller's own. */
export async function temporaryDirectory(label = 'test'): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), `onewriter-${label}-`));
  const untrack = trackHandle({
    what: `directory ${path}`,
    endNow: () => rmSync(path, { recursive: true, force: true }),
  });
  const remove = async () => {
    // A process that is being ended may still write a last file: try again for a moment.
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    untrack();
  };
  return { path, remove, [Symbol.asyncDispose]: remove };
}
