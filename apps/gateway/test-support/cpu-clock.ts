/**
 * A clock of the CPU time that this process takes, with all of its threads, in ms. Unlike the time of day it does not count what the
 * machine gives to other tests meanwhile.
 */
export function startCpuClock(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1_000;
  };
}
