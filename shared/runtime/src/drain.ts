import type { Logger } from './logger.ts';

/**
 * Runs `drain` at the first SIGTERM or SIGINT and then ends the process with code 0. It ends with code 1 where
 * `drain` fails or takes longer than `drainMs`, and at once at a second signal.
 */
export function drainOnSignal(drainMs: number, log: Logger, drain: () => Promise<void>): void {
  let draining = false;
  const onSignal = async (signal: NodeJS.Signals) => {
    if (draining) {
      log.warn({ signal }, 'Second signal: ending without waiting');
      process.exit(1);
    }
    draining = true;
    log.info({ signal, drainMs }, 'Draining');
    setTimeout(() => {
      log.error({ drainMs }, 'Draining took too long: ending without waiting');
      process.exit(1);
    }, drainMs).unref();
    try {
      await drain();
      log.info('Drained');
      process.exit(0);
    } catch (error) {
      log.error({ err: error }, 'Draining failed');
      process.exit(1);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}
