import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const FILES = {
  clients: './clients.e2e.test.ts',
  orms: './orms.e2e.test.ts',
  transactions: './transactions.e2e.test.ts',
  http: '../../apps/gateway/src/dialects/hrana/hrana-routes.test.ts',
  keys: '../../apps/gateway/src/dialects/hrana/stream-foreign-keys.test.ts',
} as const;

/** What is supported, and the tests that show it: first the requests of README.md, then clients, then behaviour. */
const EVIDENCE: readonly (readonly [what: string, file: keyof typeof FILES, titles: readonly string[]])[] = [
  ['execute', 'http', ['answers each request in the form that strict decoders want']],
  ['batch', 'http', ['runs its steps under their conditions, where they are %s']],
  ['sequence', 'http', ['runs a script to its first error, and may leave a transaction open']],
  ['describe', 'http', ['describes statements without running them']],
  ['store_sql, close_sql', 'http', ['stores SQL texts, up to a bound']],
  ['get_autocommit', 'http', ['continues over several requests, and ends with its stream']],
  ['close', 'http', ['continues over several requests, and ends with its stream']],
  [
    'v3/cursor',
    'http',
    ['answers step by step, where they are %s', 'streams results of any length, and ends with its reader'],
  ],
  ['GET v2, v3; 404 for v3-protobuf', 'http', ['is its path, a header, or the name of the host']],
  [
    '@libsql/client',
    'clients',
    [
      'executes statements, with values of all types both ways',
      'runs batches in all modes, whole or not at all',
      'runs scripts',
      'holds transactions in all modes',
    ],
  ],
  [
    'serverless',
    'clients',
    [
      'prepares and runs statements',
      'runs batches and transactions, whole or not at all',
      'streams long results',
    ],
  ],
  ['libsql', 'clients', ['prepares and runs statements, decoded strictly', 'holds transactions']],
  [
    'values',
    'http',
    [
      'binds arguments of all types, by position and by name, and refuses what does not fit',
      'has the reals that JSON has no number for, both ways',
      'names columns as SQLite does, whatever arguments they hold',
    ],
  ],
  [
    'form (no content type, explicit nulls, last_insert_rowid always there, base_url null)',
    'http',
    ['answers each request in the form that strict decoders want'],
  ],
  [
    'errors',
    'http',
    [
      'reports the base code and the extended code of an error',
      'is refused as a whole, before anything runs, for what is wrong in its form',
      'fails in its place for a statement that is none, and nothing of it runs',
      'has wrong arguments as the error of their step, where they are %s',
      'continues after a request that failed',
    ],
  ],
  [
    'batches (4,000 statements)',
    'http',
    [
      'may be as long as a transaction elsewhere, and a longer one is refused with the bound',
      'goes to the writer as a whole if any of it writes, else not at all',
    ],
  ],
  ['ORMs', 'clients', ['migrates with foreign keys off, and they are on afterwards']],
  [
    'ORMs',
    'orms',
    [
      'migrates, also where a table is rebuilt that others refer to',
      'nests transactions',
      'inserts, updates and deletes, with RETURNING, and queries relations',
    ],
  ],
  [
    'read-only and deferred transactions',
    'http',
    [
      'that only reads sees one state, and its writes fail',
      'that is deferred moves to the writer with its first write, if nothing has changed',
      'that reads and is idle for too long is released, and must be rolled back',
    ],
  ],
  [
    'transactions and others',
    'clients',
    ['holds up no other tenant: they write, reads continue, writes of its own tenant wait and come after it'],
  ],
  ['transactions and others', 'http', ['that cannot begin fails its statements, each in its place']],
  [
    'transactions and others',
    'transactions',
    [
      'is left alone while no other writer waits',
      'is rolled back when its client leaves without a word, as soon as others wait',
    ],
  ],
  [
    'migrations with foreign keys off, over several requests',
    'keys',
    ['holds for what follows on its stream, statements and transactions, until it is set to ON'],
  ],
  ['lost transactions', 'http', ['that was taken away lets nothing commit until ROLLBACK (%s)']],
  [
    'lost transactions',
    'transactions',
    [
      'is taken away when others wait, and nothing commits until ROLLBACK',
      'is lost with its broker, and says so',
    ],
  ],
  [
    'batons',
    'http',
    [
      'is good once, for its own tenant and token',
      'of a stream that held nothing opens a new one anywhere; of another it is expired',
    ],
  ],
  [
    'tenants and tokens',
    'http',
    [
      'needs a token for it, and one that may write for what writes',
      'leads to an empty database where the tenant has none yet, if it may be created',
      'is blocked for writes while the tenant is paused',
    ],
  ],
  [
    'reads',
    'http',
    [
      'is answered without a process, as one would answer it',
      'goes the other way where it is wrong, conditional, one of several or not by key',
    ],
  ],
];

const read = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

it.each(EVIDENCE)('%s: shown by tests of %s that exist', (_, file, titles) => {
  const source = read(FILES[file]);
  expect(titles.filter(title => !source.includes(`'${title}'`))).toEqual([]);
});

it('names no request in README.md without a test', () => {
  const section = read('./README.md').split('## Requests')[1]!.split('\n## ')[0]!;
  const requests = [...section.matchAll(/^\| (`.*?) +\|/gm)].map(([, cell]) => cell!.replaceAll('`', ''));
  const shown = new Set(EVIDENCE.map(([what]) => what));
  expect(requests.length).toBeGreaterThan(5);
  expect(requests.filter(request => !shown.has(request))).toEqual([]);
});
