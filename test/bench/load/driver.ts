/** Positional parameters; what all systems under test can carry. */
export type Parameters = readonly (string | number | null)[];

/** One statement; `?` stands for a parameter. */
export interface SqlStatement {
  readonly sql: string;
  readonly params: Parameters;
}

/**
 * One system under test, as a caller sees it. The load generator is the same for all: only this differs. Each method
 * resolves when the system has given its answer, so when it says that the write is durable, and rejects otherwise.
 */
export interface Driver {
  /** Makes the tables of a tenant. */
  script(tenant: string, statements: readonly string[]): Promise<void>;
  /** @returns rows changed */
  write(tenant: string, sql: string, params: Parameters): Promise<number>;
  /** @returns the first row, or undefined */
  read(tenant: string, sql: string, params: Parameters): Promise<unknown>;
  /** All or nothing. */
  transaction(tenant: string, statements: readonly SqlStatement[]): Promise<void>;
  /** Asks the very connection that writes how it syncs: `synchronous=2` is SQLite's FULL. */
  proveDurability(tenant: string): Promise<string>;
  close(): Promise<void>;
}

/** What a load process needs to make a driver; each kind is one file `<kind>-driver.ts`. */
export type DriverSpec =
  | {
      readonly kind: 'sdk';
      readonly redisUrl: string;
      /** Undefined: the clients have nothing but Redis, and read through the owner of the files. */
      readonly dataDir: string | undefined;
      /** SDK clients that share the tenants; default: 1. */
      readonly clients?: number | undefined;
    }
  | {
      readonly kind: 'http';
      readonly url: string;
      readonly token?: string | undefined;
      readonly connections: number;
    }
  | { readonly kind: 'postgres'; readonly url: string; readonly connections: number }
  | { readonly kind: 'bullmq'; readonly redisUrl: string; readonly queue: string };

/** Makes the driver. */
export async function openDriver(spec: DriverSpec): Promise<Driver> {
  switch (spec.kind) {
    case 'sdk':
      return (await import('./sdk-driver.ts')).openSdkDriver(spec);
    case 'http':
      return (await import('./http-driver.ts')).openHttpDriver(spec);
    case 'postgres':
      return (await import('./postgres-driver.ts')).openPostgresDriver(spec);
    case 'bullmq':
      return (await import('./bullmq-driver.ts')).openBullmqDriver(spec);
    default:
      throw new TypeError(`Unknown driver ${(spec satisfies never as DriverSpec).kind}.`);
  }
}
