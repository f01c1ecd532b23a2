import type { Tenant } from '@onewriter/sdk';

/** Settings of a tenant. */
export class Settings {
  readonly #tenant: Tenant;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  async put(key: string, value: string): Promise<void> {
    await this.#tenant.prepare('INSERT OR REPLACE INTO setting(key, value) VALUES (?, ?)').run(key, value);
  }

  async read(key: string): Promise<string | undefined> {
    const row = await this.#tenant
      .prepare<[string], { value: string }>('SELECT value FROM setting WHERE key = ?')
      .get(key);
    return row?.value;
  }
}
