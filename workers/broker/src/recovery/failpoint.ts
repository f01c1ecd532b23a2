/** Ends the process with SIGKILL at a chosen point; for fault tests. */
export type Failpoint = () => void;

/**
 * Reads `ONEWRITER_FAILPOINT`, for example `after-commit:3`: the process is killed after the third batch was committed, before
 * any caller is answered. Does nothing where it is not set.
 * @throws TypeError for a failpoint that does not exist: a fault test must not pass because of a typing error.
 */
export function readFailpoint(name: string, setting: string | undefined): Failpoint {
  if (setting === undefined || setting === '') return () => {};
  const match = /^(after-commit):([1-9]\d*)$/.exec(setting);
  if (!match)
    throw new TypeError(`ONEWRITER_FAILPOINT=${setting} is not a failpoint; for example after-commit:3.`);
  if (match[1] !== name) return () => {};
  let left = Number(match[2]);
  return () => {
    if (--left === 0) process.kill(process.pid, 'SIGKILL');
  };
}
