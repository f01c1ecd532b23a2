import { setTimeout as pause } from 'node:timers/promises';
import { findStatusProblems, isOnewriterError, type StatusFinding, toWireError } from '@onewriter/protocol';
import { type GroupStatus, readGroupStatus } from '@onewriter/runtime';
import { findPausedTenants, type StillTenant, StillWalk } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { useColour } from '../colour.ts';
import { EXIT } from '../exit-codes.ts';
import { assertOwnGroup, openRedis } from '../open-redis.ts';
import { formatStatus } from '../status/format-status.ts';
import { findRemoteTarget, type PlaceOptions, type Target } from '../target.ts';

/** Options of `onewriter status`, as the command line gives them. */
export interface StatusOptions extends PlaceOptions {
  readonly watch?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter status --json` prints: {@link GroupStatus}, which tenants are kept still, and what is wrong. */
export type StatusReport = GroupStatus & {
  /** Up to 1,000, by name. */
  readonly held: readonly StillTenant[];
  readonly findings: readonly StatusFinding[];
};

const EVERY_MS = 1_000;
/** All tenants are looked at for pauses for so long; 100,000 take about 2 s. */
const MAX_WALK_MS = 5_000;
/** Width of an output that is not a terminal. */
const WIDE = { width: 400, height: 1_000 };

/** Shows who leads, how it does and what is wrong. @returns 3 where something is critical */
export async function status(options: StatusOptions): Promise<number> {
  const target = findRemoteTarget(options);
  if (options.watch) return watch(target, options);
  const redis = await openRedis(target);
  try {
    const group = await readGroupStatus(redis, target.group);
    const walk = new StillWalk(redis, target.group);
    await walkAll(walk);
    process.stdout.write(show(target, group, walk, options));
    return findStatusProblems(group).some(({ level }) => level === 'critical') ? EXIT.found : EXIT.ok;
  } finally {
    redis.disconnect();
  }
}

/** Looks at all tenants once, or as many as there is time for. */
async function walkAll(walk: StillWalk): Promise<void> {
  const until = performance.now() + MAX_WALK_MS;
  do await walk.step();
  while (!walk.progress.complete && performance.now() < until);
}

/** Shows it every second, until a key or signal ends it; an outage of Redis is shown, and looked at again. */
async function watch(target: Target, options: StatusOptions): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  const isScreen = process.stdout.isTTY === true && !options.json;
  const restore = isScreen ? takeScreen(stop) : () => {};
  let redis: Redis | undefined;
  let walk: StillWalk | undefined;
  try {
    while (!stop.signal.aborted) {
      let text: string;
      try {
        redis ??= await openRedis(target);
        // It may have changed hands since.
        await assertOwnGroup(target, redis);
        walk ??= new StillWalk(redis, target.group);
        // The first screen does not wait for all tenants.
        await walk.step();
        text = show(target, await readGroupStatus(redis, target.group), walk, options);
      } catch (error) {
        redis?.disconnect();
        redis = undefined;
        walk = undefined;
        // Nothing to look at is no outage.
        if (isOnewriterError(error, 'MISCONFIGURED')) throw error;
        const wire = isOnewriterError(error)
          ? toWireError(error)
          : { code: 'QUEUE_UNAVAILABLE', message: `Redis does not answer: ${(error as Error).message}` };
        text = options.json
          ? `${JSON.stringify({ error: wire })}\n`
          : `✗ ${wire.code} ${wire.message}\n  → onewriter doctor. Looking again every second.\n`;
      }
      if (isScreen) process.stdout.write(`\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[J`);
      else process.stdout.write(options.json ? text : `${text}\n`);
      await pause(EVERY_MS, undefined, { signal: stop.signal }).catch(() => {}); // the loop ends
    }
    return EXIT.ok;
  } finally {
    restore();
    redis?.disconnect();
  }
}

/** A screen of its own, that leaves the terminal as it was; `q` ends it. */
function takeScreen(stop: AbortController): () => void {
  const { stdin, stdout } = process;
  stdout.write('\u001b[?1049h\u001b[?25l');
  const onKey = (key: Buffer) => {
    // Ctrl-C is a key in raw mode.
    if (key.includes('q') || key.includes('\u0003')) stop.abort();
  };
  if (stdin.isTTY) {
    stdin.setRawMode(true);
    stdin.on('data', onKey);
  }
  return () => {
    if (stdin.isTTY) {
      stdin.off('data', onKey);
      stdin.setRawMode(false);
      stdin.pause();
    }
    stdout.write('\u001b[?25h\u001b[?1049l');
  };
}

function show(target: Target, group: GroupStatus, walk: StillWalk, options: StatusOptions): string {
  const still = walk.tenants;
  if (options.json) {
    const findings = [...findStatusProblems(group), ...findPausedTenants(still)];
    const report: StatusReport = { ...group, held: still, findings };
    return `${JSON.stringify(report)}\n`;
  }
  const isTerminal = process.stdout.isTTY === true;
  const place = target.run === undefined ? 'Redis of ONEWRITER_REDIS_URL' : target.dataDir;
  return formatStatus(group, {
    colour: useColour(process.stdout),
    width: isTerminal ? process.stdout.columns || 80 : WIDE.width,
    height: isTerminal && options.watch ? (process.stdout.rows || 24) - 1 : WIDE.height,
    group: target.group,
    place,
    still,
  });
}
