import { fileURLToPath } from 'node:url';

/** `test/bench/`; this file runs as `test/bench/dist/paths.js`. */
export const BENCH_FOLDER = fileURLToPath(new URL('..', import.meta.url));

/** A file of the benchmark that runs as it is: peers written in plain JavaScript. */
export function sourceFile(path: string): string {
  return `${BENCH_FOLDER}${path}`;
}

/** A program of the benchmark, compiled. */
export function builtFile(path: string): string {
  return `${BENCH_FOLDER}dist/${path}`;
}
