import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/** The idempotency key of a file: the same content has the same, so that a command that is run again continues. */
export async function keyOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return `load-${hash.digest('hex')}`;
}
