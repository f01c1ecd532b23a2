import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readFileIfThere } from '@onewriter/protocol';

/** `<dataDir>/epoch`: the highest epoch a broker of this data directory has led with. */
function epochFile(dataDir: string): string {
  return join(dataDir, 'epoch');
}

/** Reads the highest epoch led with; 0 where there is none. @throws Error for an unreadable file. */
export function readEpochFloor(dataDir: string): number {
  const text = readFileIfThere(epochFile(dataDir));
  if (text === undefined) return 0;
  const epoch = Number(text.trim());
  if (!Number.isSafeInteger(epoch) || epoch < 0) {
    throw new Error(
      `${epochFile(dataDir)} does not hold an epoch. Delete it if the tenants' files are intact.`,
    );
  }
  return epoch;
}

/**
 * Notes an epoch before leading with it, flushed: a Redis that lost its data must not issue an old epoch again, which every
 * file would refuse.
 */
export function writeEpochFloor(dataDir: string, epoch: number): void {
  const path = epochFile(dataDir);
  const temporary = `${path}.tmp`;
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(temporary, 'w');
  try {
    writeSync(file, `${epoch}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
}
