/** Why a tenant's file takes no writes, as the broker noted it, or as a look at its folder shows. */
export interface ParkedTenant {
  readonly code: string;
  readonly message: string;
  /** ISO time; '' where it is not known. */
  readonly since: string;
}

/** Reads a note of the group's hash; null where there is none. */
export function readParked(json: unknown): ParkedTenant | null {
  if (typeof json !== 'string') return null;
  try {
    const { code, message, since } = JSON.parse(json) as ParkedTenant;
    return { code: String(code), message: String(message), since: String(since) };
  } catch {
    return { code: 'INTERNAL', message: 'The note of the broker cannot be read.', since: '' };
  }
}
