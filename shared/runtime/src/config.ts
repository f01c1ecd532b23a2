import { DEFAULT_DB_FILE, DEFAULT_GROUP, LIMITS, OnewriterError } from '@onewriter/protocol';
import { z } from 'zod';
import { parseNetworks } from './networks.ts';

const port = (value: number) => z.coerce.number().int().min(0).max(65_535).default(value);
const count = (value: number) => z.coerce.number().int().min(1).default(value);
const ms = (value: number) => z.coerce.number().int().min(1).default(value);
const flag = (value: boolean) =>
  z.preprocess(
    raw => (raw === undefined || raw === '' ? value : /^(1|true|yes|on)$/i.test(String(raw))),
    z.boolean(),
  );

const REPLICA_KEY_BYTES = 32;

/** Whether a text is a master key of replicas, or several with commas between them. */
export function areReplicaKeys(text: string): boolean {
  return text.split(',').every(key => Buffer.from(key, 'base64').length === REPLICA_KEY_BYTES);
}

/**
 * Every setting of every process. The environment variable of a key is `ONEWRITER_` and the key in upper snake
 * case: `dataDir` is `ONEWRITER_DATA_DIR`. `onewriter config` lists them.
 */
export const configSchema = z.object({
  redisUrl: z
    .string()
    .default('redis://127.0.0.1:6379')
    .describe(
      'Redis or Valkey, with maxmemory-policy noeviction: redis://, rediss:// or redis+sentinel://host,host/name.',
    ),
  dataDir: z.string().default('./data').describe('Folder that holds tenants/<tenant>/<file>.'),
  dbFile: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/)
    .default(DEFAULT_DB_FILE)
    .describe("Name of the database file inside a tenant's folder."),
  group: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/)
    .default(DEFAULT_GROUP)
    .describe("Placement group: one host's files, led by one broker."),
  createTenants: flag(true).describe('Whether the first write of an unknown tenant creates its file.'),
  umask: z
    .string()
    .regex(/^0?[0-7]{3}$/)
    .default('077')
    .describe(
      'Rights that new files and folders do not have, octal: 077: only the owner has any; 007: the group, too.',
    ),
  tokenSecret: z
    .string()
    .min(16)
    .optional()
    .describe('Secret that signs tokens (HS256), at least 16 characters.'),
  tokenSecretPrevious: z
    .string()
    .min(16)
    .optional()
    .describe('The secret before it: tokens signed with that stay valid while you change to the new one.'),
  tokenLifeMs: z.coerce
    .number()
    .int()
    .min(0)
    .default(30 * 24 * 60 * 60_000)
    .describe('A token without "exp" ends this long after its "iat"; 0: tokens must have "exp".'),
  adminToken: z
    .string()
    .min(16)
    .optional()
    .describe('A fixed token with access admin to all tenants, at least 16 characters; for emergencies.'),
  tokenPublicKey: z
    .string()
    .optional()
    .describe('Public key of tokens signed with RS256 or EdDSA: PEM, or the path of a PEM file.'),
  tokenJwksUrl: z
    .string()
    .regex(/^https?:\/\//)
    .optional()
    .describe('URL of a JWKS with public keys (RS256, EdDSA) of tokens.'),
  tokenIssuer: z.string().optional().describe('Tokens signed with a public key must have this "iss".'),
  tokenAudience: z.string().optional().describe('Tokens signed with a public key must have this "aud".'),
  metricsToken: z
    .string()
    .min(16)
    .optional()
    .describe(
      'A token that opens /metrics of gateway and dashboard and nothing else, at least 16 characters.',
    ),
  logLevel: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('pino level.'),
  logValues: flag(false).describe(
    'Whether log lines may hold SQL with its literals and parameters; else they hold neither.',
  ),
  slowWriteMs: ms(1_000).describe('A write that takes longer is logged with its stages.'),
  traceUrl: z
    .string()
    .regex(/^https?:\/\//)
    .optional()
    .describe(
      'Where spans are sent (OTLP over HTTP), such as http://127.0.0.1:4318/v1/traces; none: no spans.',
    ),
  traceRatio: z.coerce
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('Share of the traces that are recorded, 0 to 1.'),
  threads: z.coerce.number().int().min(1).max(64).default(2).describe('Writer threads of the broker.'),
  spareBroker: flag(true).describe(
    'Whether `onewriter up` with one broker keeps a second process ready that takes its place when it ends.',
  ),
  maxOpenTenants: z.coerce
    .number()
    .int()
    .min(1)
    .optional()
    .describe('Tenant files a writer thread keeps open; default: as many as ulimit -n and memory allow.'),
  writeMemoryBytes: z.coerce
    .number()
    .int()
    .min(16 * 1024 * 1024)
    .optional()
    .describe(
      'Memory by which the broker may grow during one write; none: a quarter of the machine or container, 64 MiB to 256 MiB.',
    ),
  jobMemoryBytes: z.coerce
    .number()
    .int()
    .min(1024 * 1024)
    .optional()
    .describe(
      "Memory of the broker for the jobs that it holds; none: a quarter of its heap's or container's limit.",
    ),
  idleCloseMs: ms(5 * 60_000).describe('A tenant without writes for this long is closed.'),
  maxQueueBytes: count(LIMITS.maxQueueBytes).describe(
    'Bytes of jobs that may wait for one tenant; beyond it TENANT_OVERLOADED.',
  ),
  maxRedisBytes: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      "What Redis may use where it has no maxmemory; 0 is half of its machine's memory. At 90 % of it writes are refused.",
    ),
  sweepIntervalMs: ms(10_000).describe('How often the broker looks for work whose notification was lost.'),
  busyTimeoutMs: ms(LIMITS.busyTimeoutMs).describe("How long SQLite waits for another process's lock."),
  statementTimeoutMs: ms(LIMITS.statementTimeoutMs).describe('The watchdog stops a statement after this.'),
  offenceLimit: z.coerce
    .number()
    .int()
    .min(0)
    .max(100)
    .default(5)
    .describe(
      'A tenant whose writes caused the broker to be replaced this often is paused until it is resumed; 0: never.',
    ),
  offenceWindowMs: ms(10 * 60_000).describe('ONEWRITER_OFFENCE_LIMIT counts within this time.'),
  transactionTimeoutMs: ms(LIMITS.transactionTimeoutMs).describe(
    'An interactive transaction that is older is rolled back when others wait.',
  ),
  transactionIdleMs: ms(LIMITS.transactionIdleMs).describe(
    'So is one whose client sent nothing for this long.',
  ),
  transactionMaxMs: ms(LIMITS.transactionMaxMs).describe(
    'An interactive transaction that is older is always rolled back.',
  ),
  leaseMs: ms(2_000).describe('Life of the leader lease; renewed every third of it.'),
  stallMs: z.coerce
    .number()
    .int()
    .min(0)
    .default(10_000)
    .describe('A process whose event loop does not turn for this long ends, to be started again; 0: never.'),
  drainMs: ms(10_000).describe('Grace period at SIGTERM.'),
  writeTimeoutMs: ms(LIMITS.writeTimeoutMs).describe("Deadline of a gateway caller's write."),
  host: z.string().default('127.0.0.1').describe('Address the HTTP servers listen on.'),
  dataDirKind: z
    .enum(['auto', 'local', 'network'])
    .default('auto')
    .describe(
      'What the data directory is on; auto looks it up. On a network file system the broker locks each file that it opens, and all reads go through it.',
    ),
  gatewayReads: z
    .enum(['auto', 'file', 'owner'])
    .default('auto')
    .describe(
      'How the gateway reads: from the files, or through the broker that owns them; auto: through it on a network file system.',
    ),
  gatewayPort: port(8080).describe('Port of the gateway; 0 is any free port.'),
  dashboardPort: port(8081).describe('Port of the dashboard; 0 is any free port.'),
  gatewayUrl: z
    .string()
    .regex(/^https?:\/\//)
    .optional()
    .describe(
      "Where the dashboard finds the gateway, for tenants' data; else what `onewriter up` runs beside it.",
    ),
  brokerPort: port(8082).describe("Port of the broker's /livez, /readyz and /metrics; 0 is any free port."),
  maxBodyBytes: count(8 * 1024 * 1024).describe('Largest request body of the gateway.'),
  readTimeoutMs: ms(10_000).describe("A gateway caller's read is stopped after this."),
  readProcesses: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(4)
    .describe('Processes of the gateway that run reads, at most.'),
  readMemoryBytes: z.coerce
    .number()
    .int()
    .min(256 * 1024 * 1024)
    .default(768 * 1024 * 1024)
    .describe('Memory that a read process may use.'),
  snapshotLogBytes: z.coerce
    .number()
    .int()
    .min(1024 * 1024)
    .default(LIMITS.maxSnapshotLogBytes)
    .describe('A read or export of the gateway ends when a write-ahead log has grown by so much behind it.'),
  exportTimeoutMs: ms(10 * 60_000).describe('An export is stopped after this.'),
  tokenRateLimit: z.coerce
    .number()
    .int()
    .min(0)
    .default(20_000)
    .describe('Requests per second of one token, per gateway; 0 is no limit.'),
  tenantRateLimit: z.coerce
    .number()
    .int()
    .min(0)
    .default(20_000)
    .describe('Requests per second for one tenant, per gateway; 0 is no limit.'),
  corsOrigins: z
    .string()
    .default('')
    .describe("Origins whose pages may call the gateway, with commas between them; '' is none."),
  dropInTokenless: z
    .string()
    .default('')
    .superRefine((text, context) => {
      try {
        parseNetworks(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
      }
    })
    .describe(
      "Networks (CIDR, with commas between them) whose peers use the gateway's drop-in routes without a token, for all tenants; '' is none.",
    ),
  dropInDoubleQuotes: flag(false).describe(
    'Whether the drop-in routes take "text" for a string where it can be no column, as older SQLite does.',
  ),
  dropInRepeatedDdl: flag(false).describe(
    'Whether the drop-in routes answer CREATE and ALTER TABLE … ADD as done where the table, index or column is there.',
  ),
  token: z
    .string()
    .optional()
    .describe('Bearer token of the command line, where it has no secret to sign one.'),
  libsqlHost: z
    .string()
    .optional()
    .describe(
      'Domain whose subdomains name tenants for libSQL clients: acme.db.example.com with db.example.com.',
    ),
  replicaUrl: z
    .string()
    .regex(/^(s3|file):\/\/[^,]+(,(s3|file):\/\/[^,]+)*$/)
    .optional()
    .describe(
      'Where every commit is stored off the machine: s3://bucket/prefix or file:///mount/dir; more after commas get copies.',
    ),
  replicaIntervalMs: ms(1_000).describe('How often new commits are stored.'),
  replicaRetention: z
    .string()
    .regex(/^[1-9]\d{0,4}[hd]$/)
    .default('30d')
    .describe('How long the store keeps history: 12h, 30d.'),
  replicaBufferBytes: z.coerce
    .number()
    .int()
    .min(16 * 1024 * 1024)
    .default(256 * 1024 * 1024)
    .describe(
      'Commits that wait in memory for a store that is slow or away, in bytes; as many on the disk for each thread.',
    ),
  replicaKey: z
    .string()
    .refine(areReplicaKeys, 'not 32 bytes in base64')
    .optional()
    .describe(
      'Key that encrypts what is stored: 32 bytes in base64; former ones after commas; none: it is not encrypted here.',
    ),
  replicaKeyFile: z.string().optional().describe('A file with that key.'),
  replicaKeys: z
    .enum(['one', 'tenant'])
    .default('one')
    .describe('Whether one key is for all, or each tenant has its own, so that it can be erased.'),
  replicaMode: z
    .enum(['async', 'sync'])
    .default('async')
    .describe('For tenants without a durability of their own: whether callers wait for the store (sync).'),
  replicaRehearsals: flag(true).describe(
    'Whether each tenant is restored beside its file once a day, checked, and compared.',
  ),
  hibernateAfterMs: z.coerce
    .number()
    .int()
    .min(60_000)
    .optional()
    .describe(
      'A tenant that is not used for so long lies in the replica only, until it is used; none: all stay here.',
    ),
  diskBudget: z.coerce
    .number()
    .int()
    .min(1024 * 1024)
    .optional()
    .describe(
      'Bytes of all tenants’ files here: beyond, those that were not used for the longest lie in the replica only.',
    ),
  trashRetentionMs: ms(7 * 24 * 60 * 60_000).describe("A deleted tenant's folder is kept this long."),
});

/** The settings of a process, validated. */
export type Config = z.output<typeof configSchema>;

/** The environment variable of a setting. */
export function environmentName(key: keyof Config): string {
  return `ONEWRITER_${key.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`;
}

/** Names of the settings of a server, for errors. */
export function listenSettings(port: 'brokerPort' | 'gatewayPort' | 'dashboardPort') {
  return { port: environmentName(port), host: environmentName('host') };
}

/**
 * Reads the settings from environment variables.
 * @throws OnewriterError MISCONFIGURED naming each variable that is wrong.
 */
export function loadConfig(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  const raw: Record<string, string> = {};
  for (const key of Object.keys(configSchema.shape) as (keyof Config)[]) {
    const value = environment[environmentName(key)];
    if (value !== undefined && value !== '') raw[key] = value;
  }
  const parsed = configSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    issue => `${environmentName(issue.path[0] as keyof Config)}: ${issue.message}`,
  );
  throw new OnewriterError('MISCONFIGURED', `Wrong settings. ${problems.join('; ')}`);
}

/** What is wrong with a value of a setting, wherever it comes from; undefined where it is right. */
export function findSettingProblem(key: keyof Config, value: string): string | undefined {
  const parsed = configSchema.shape[key].safeParse(value);
  return parsed.success ? undefined : parsed.error.issues.map(({ message }) => message).join('; ');
}
