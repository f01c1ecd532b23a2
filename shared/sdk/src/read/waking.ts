import { isOnewriterError } from '@onewriter/protocol';
import type { WaitOptions } from '../types.ts';

/** Has the owner of a tenant's file bring it back. @throws OnewriterError of a read through the owner */
export type Wake = (tenant: string, wait: WaitOptions) => Promise<void>;

/** A tenant that is hibernated again right away is not followed for ever. */
const MAX_WAKES = 3;

/** Reads of hibernated tenants: the file is brought back first. */
export class Waking {
  readonly #wake: Wake;

  constructor(wake: Wake) {
    this.#wake = wake;
  }

  /** Whether a read failed because the tenant is hibernated. */
  isCause(error: unknown): boolean {
    return isOnewriterError(error, 'TENANT_WAKING');
  }

  /** Runs a read until the file is here. @throws as the read, and as {@link Wake} */
  async until<T>(tenant: string, wait: WaitOptions, read: () => T | Promise<T>): Promise<T> {
    for (let wakes = 1; ; wakes++) {
      await this.#wake(tenant, wait);
      try {
        return await read();
      } catch (error) {
        if (!this.isCause(error) || wakes === MAX_WAKES) throw error;
      }
    }
  }
}
