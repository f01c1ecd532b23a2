/*
 * `onewriter probe http://127.0.0.1:8080/readyz`: exit code 0 where that answers 2xx, else 1, with what it said. For
 * health checks inside the container: the image has no curl.
 */
const TIMEOUT_MS = 3_000;

try {
  const response = await fetch(process.argv[2] ?? '', { signal: AbortSignal.timeout(TIMEOUT_MS) });
  process.stdout.write(`${(await response.text()).trim()}\n`);
  process.exitCode = response.ok ? 0 : 1;
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
