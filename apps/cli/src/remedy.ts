import type { ErrorCode } from '@onewriter/protocol';

/** What to do next, by error code: for the codes where it does not follow from the message. */
const REMEDIES: Partial<Readonly<Record<ErrorCode, string>>> = {
  BROKER_UNAVAILABLE:
    'Start a broker; `onewriter status` says who leads, `onewriter doctor` why no broker does.',
  QUEUE_UNAVAILABLE:
    'Check whether Redis runs and ONEWRITER_REDIS_URL is right; `onewriter doctor` says more.',
  QUEUE_FULL:
    'Redis is out of memory: give it more, or end what fills it; `onewriter doctor` says how full it is.',
  TENANT_NOT_FOUND:
    '`onewriter tenants` lists those that are there; `onewriter tenants create <tenant>` makes one.',
  TENANT_PAUSED:
    'Resume it with `onewriter tenants resume <tenant>` when whatever it was paused for is done.',
  DATABASE_CORRUPT:
    'Look with `onewriter tenants check <tenant>`; restore the newest good backup with `onewriter restore`.',
  DATABASE_FULL: 'Free space on the disk of the data directory; the broker then continues without a restart.',
  DATABASE_READONLY:
    'Look at the permissions of the file and its folder, and whether the disk is mounted read-only.',
  OUTCOME_UNKNOWN: 'It may have been committed: look at the data before you send it again.',
  UNAUTHENTICATED:
    'Give a valid token in ONEWRITER_TOKEN, or the secret in ONEWRITER_TOKEN_SECRET; `onewriter token` signs one.',
  FORBIDDEN: 'Use a token with that access: `onewriter token --access admin`.',
};

/** What to do about an error; undefined where its message says all. */
export function remedyFor(code: string): string | undefined {
  return REMEDIES[code as ErrorCode];
}
