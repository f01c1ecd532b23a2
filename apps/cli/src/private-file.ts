import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { readFileIfThere } from '@onewriter/protocol';

/** Writes a file that only its owner can read, whole or not at all. Creates its folder. */
export function writePrivateFile(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, content, { mode: 0o600 });
  renameSync(draft, path);
}

/** The secret kept in `path`; made on first use: 32 random bytes, base64url, readable by its owner alone. */
export function ensureSecret(path: string): string {
  const kept = readFileIfThere(path)?.trim();
  if (kept) return kept;
  const secret = randomBytes(32).toString('base64url');
  writePrivateFile(path, `${secret}\n`);
  return secret;
}
