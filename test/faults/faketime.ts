import { existsSync } from 'node:fs';
import { CannotInject } from './fault-failure.ts';
import { must, needProgram } from './machine.ts';

/** Path of the library that changes a process's clock, installed where it is missing. @throws CannotInject */
export async function findFaketime(): Promise<string> {
  await needProgram('faketime', 'faketime');
  const files = await must('dpkg', '-L', 'libfaketime');
  const library = files.split('\n').find(file => /\/libfaketimeMT\.so/.test(file)) ?? '';
  if (!existsSync(library)) throw new CannotInject('The package libfaketime has no libfaketimeMT.');
  return library;
}

/**
 * `LD_PRELOAD` that changes the clock of redis-server.
 *
 * Debian's is linked with jemalloc, which asks for the time while it begins. The library answers, allocates for that, and
 * both wait for each other for ever: Redis never listens. With the C library named next, memory comes from there instead.
 *
 * @throws CannotInject
 */
export async function findFaketimeForRedis(): Promise<string> {
  const library = await findFaketime();
  const server = (await must('which', 'redis-server')).trim();
  const linked = await must('ldd', server);
  const [, libc] = /\blibc\.so\.\d+ => (\S+)/.exec(linked) ?? [];
  if (libc === undefined)
    throw new CannotInject(`${server} has no C library of its own to preload: ${linked}`);
  return `${library} ${libc}`;
}
