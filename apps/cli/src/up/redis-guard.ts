import { spawn } from 'node:child_process';

/*
 * Redis does not notice that its parent was killed, so a small shell watches for it: its standard input closes with
 * the parent. It gives the other processes time to drain, which they can only do while Redis is there, and then ends
 * Redis. A new `onewriter up` on the same folder does not wait for it; see leftovers.ts.
 */
const SCRIPT = `read -r _
i=0
while [ "$i" -lt "$2" ]; do
  kill -0 "$1" 2>/dev/null || exit 0
  sleep 1
  i=$((i + 1))
done
kill -TERM "$1"`;

/** Ends Redis if this process is killed. Returns the function that calls the guard off. */
export function guardRedis(redisPid: number, graceMs: number): () => void {
  const seconds = String(Math.ceil(graceMs / 1_000));
  const guard = spawn('sh', ['-c', SCRIPT, 'onewriter-redis-guard', String(redisPid), seconds], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Without a guard everything works but a kill -9 of this process leaves Redis; the next `up` ends it.
  guard.on('error', () => {});
  guard.stdin?.on('error', () => {});
  guard.unref();
  return () => {
    if (guard.exitCode === null && guard.signalCode === null) guard.kill('SIGKILL');
  };
}
