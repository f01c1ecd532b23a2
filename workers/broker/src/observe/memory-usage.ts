import { isOutOfDescriptors } from '@onewriter/protocol';

let last = process.memoryUsage();

/** `process.memoryUsage()`, which opens a file: where the process may open none just now, the reading before. */
export function readMemoryUsage(): NodeJS.MemoryUsage {
  try {
    last = process.memoryUsage();
  } catch (error) {
    if (!isOutOfDescriptors(error)) throw error;
  }
  return last;
}
