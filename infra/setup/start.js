import { runMain } from './say.js';
import { setUp } from './setup.js';

/*
 * `npm start -- …`: sets up, then `onewriter up …` in this same process, so that Ctrl-C and SIGTERM reach it and
 * nothing has to be forwarded.
 */

await runMain(async () => {
  const args = process.argv.slice(2);
  const ownRedis = args.some(arg => arg.startsWith('--redis-url')) || process.env.ONEWRITER_REDIS_URL;
  await setUp({ redis: !ownRedis });
  process.argv.splice(2, args.length, 'up', ...args);
  await import('../../apps/cli/dist/main.js');
});
