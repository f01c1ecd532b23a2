import { explainReply, isOnewriterError } from '@onewriter/protocol';
import { type Config, loadConfig } from './config.ts';
import { createLogger, type Logger } from './logger.ts';
import { watchLoop } from './watch-loop.ts';

/**
 * Reads the settings of the process `name`, makes its logger and runs `start`. Where any of that fails, it says why in
 * one line of the log and ends the process with code 1.
 */
export async function startProcess(
  name: string,
  start: (config: Config, log: Logger) => Promise<void>,
): Promise<void> {
  let log = createLogger(name, 'info');
  try {
    const config = loadConfig();
    log = createLogger(name, config.logLevel);
    process.umask(Number.parseInt(config.umask, 8));
    if (config.stallMs > 0) watchLoop(name, config.stallMs, log);
    await start(config, log);
  } catch (thrown) {
    const error = explainReply(thrown) ?? thrown;
    if (isOnewriterError(error)) log.fatal({ code: error.code }, `Cannot start: ${error.message}`);
    else log.fatal({ err: error }, 'Cannot start');
    process.exit(1);
  }
}
