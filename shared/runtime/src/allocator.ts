const MEGABYTE = 1024 * 1024;

/** The least memory of a broker's container. Measured: infra/adr/0034. */
const MIN_BROKER_BYTES = 256 * MEGABYTE;
/** Below this a broker says what it needs. */
const SMALL_BYTES = 1024 * MEGABYTE;

/**
 * What a process that handles large writes needs in its environment when it starts, because glibc reads it once. By default
 * glibc raises the size from which it returns memory to the kernel each time a large block is freed: then each thread keeps
 * the memory of its largest jobs, 130 MB in all with six threads (ADR 0034). A value that is already set stays.
 */
export const ALLOCATOR_ENVIRONMENT = Object.freeze({ MALLOC_MMAP_THRESHOLD_: String(MEGABYTE) });

/**
 * What is wrong with the memory that a broker may have; undefined: nothing.
 * @param containerBytes `process.constrainedMemory()`: 0, undefined or more than the machine has where there is no limit
 */
export function adviseOnMemory(
  containerBytes: number | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (!containerBytes || containerBytes >= SMALL_BYTES) return undefined;
  const has = `This container has ${Math.floor(containerBytes / MEGABYTE)} MiB of memory.`;
  if (containerBytes < MIN_BROKER_BYTES) {
    return `${has} A broker needs ${MIN_BROKER_BYTES / MEGABYTE} MiB: large writes may end it. Raise the limit of the container.`;
  }
  const [[name, value]] = Object.entries(ALLOCATOR_ENVIRONMENT) as [[string, string]];
  if (environment[name] !== undefined) return undefined;
  return `${has} Set ${name}=${value} in the broker's environment: otherwise the C library keeps the memory of large writes, and the broker may run out of memory.`;
}
