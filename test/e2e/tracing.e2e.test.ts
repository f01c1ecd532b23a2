import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Stack, startStack, waitFor } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** A span, as far as it matters, of OTLP's JSON. */
interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  /** Nanoseconds since the epoch. */
  readonly start: bigint;
  readonly end: bigint;
  readonly failed: boolean;
}

/** An OpenTelemetry collector, as a sender of spans sees it. */
class Collector {
  readonly spans: CollectedSpan[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', chunk => chunks.push(chunk));
      request.on('end', () => {
        this.#collect(JSON.parse(Buffer.concat(chunks).toString()));
        response.setHeader('content-type', 'application/json').end('{}');
      });
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1/traces`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** The spans of a trace, by name, when all of `names` are there. */
  async trace(traceId: string, names: readonly string[]): Promise<ReadonlyMap<string, CollectedSpan>> {
    const found = () =>
      new Map(this.spans.filter(span => span.traceId === traceId).map(span => [span.name, span]));
    await waitFor(() => names.every(name => found().has(name)), {
      timeoutMs: 30_000,
      what: `the spans ${names.join(', ')}`,
    });
    return found();
  }

  #collect(body: OtlpBody): void {
    for (const { resource, scopeSpans } of body.resourceSpans) {
      const service = String(toObject(resource.attributes)['service.name']);
      for (const span of scopeSpans.flatMap(scope => scope.spans)) {
        this.spans.push({
          service,
          name: span.name,
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId ?? '',
          attributes: toObject(span.attributes),
          start: BigInt(span.startTimeUnixNano),
          end: BigInt(span.endTimeUnixNano),
          failed: span.status?.code === 2,
        });
      }
    }
  }
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: {
    readonly stringValue?: string;
    readonly intValue?: string | number;
    readonly doubleValue?: number;
  };
}

interface OtlpBody {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly OtlpAttribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly name: string;
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly startTimeUnixNano: string;
        readonly endTimeUnixNano: string;
        readonly attributes: readonly OtlpAttribute[];
        readonly status?: { readonly code?: number };
      }[];
    }[];
  }[];
}

function toObject(attributes: readonly OtlpAttribute[]): Record<string, string | number> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      value.stringValue ?? Number(value.intValue ?? value.doubleValue),
    ]),
  );
}

const STAGES = [
  ...['onewriter.coalesce', 'onewriter.enqueue', 'onewriter.queue', 'onewriter.lane', 'onewriter.apply'],
  ...['onewriter.commit', 'onewriter.complete', 'onewriter.settle'],
];

let collector: Collector;
let stack: Stack;

beforeAll(async () => {
  collector = new Collector();
  stack = await startStack({
    env: {
      ONEWRITER_TRACE_URL: await collector.listen(),
      ONEWRITER_SLOW_WRITE_MS: '20',
      ONEWRITER_LOG_LEVEL: 'debug',
    },
  });
});

afterAll(async () => {
  await stack?.stop();
  await collector?.close();
});

/** Sends a statement with the trace context of a caller that records. */
async function send(sql: string, params: unknown[], traceId: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${stack.gatewayUrl}/v1/tenants/acme/query`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${stack.token}`,
      'content-type': 'application/json',
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
      ...headers,
    },
    body: JSON.stringify({ sql, params }),
  });
  return { status: response.status, body: await response.text() };
}

const traceIdOf = (n: number) => n.toString(16).padStart(32, 'a');

describe('a traced write', () => {
  it('is one trace from the caller through gateway, queue and thread to its answer', async () => {
    await send('CREATE TABLE t(a INTEGER PRIMARY KEY, b)', [], traceIdOf(1));
    const { status } = await send("INSERT INTO t(b) VALUES ('literal secret', ?)", ['x'], traceIdOf(2));
    expect(status).toBe(422); // one value too many
    const answer = await send("INSERT INTO t(a, b) VALUES (?, 'literal')", [1], traceIdOf(3));
    expect(answer.status).toBe(200);

    const spans = await collector.trace(traceIdOf(3), [
      'POST /v1/tenants/:tenant/query',
      'onewriter.write',
      ...STAGES,
    ]);
    const request = spans.get('POST /v1/tenants/:tenant/query')!;
    expect(request).toMatchObject({ service: 'onewriter-gateway', parentSpanId: '00f067aa0ba902b7' });
    expect(request.attributes).toMatchObject({ 'http.response.status_code': 200 });
    const write = spans.get('onewriter.write')!;
    expect(write).toMatchObject({ service: 'onewriter-gateway', parentSpanId: request.spanId });
    expect(write.attributes).toMatchObject({
      'db.namespace': 'acme',
      'db.query.summary': 'INSERT INTO t(a, b) VALUES (?, ?)',
      'onewriter.commit_seq': JSON.parse(answer.body).commitSeq,
      // On a machine that is very busy the client asks before the event comes.
      'onewriter.settled_by': expect.stringMatching(/^(event|ledger)$/),
    });
    expect(write.attributes['onewriter.receipt']).toMatch(/^w-[0-9a-f-]{36}\.0$/);
    for (const stage of STAGES) expect(spans.get(stage)).toMatchObject({ parentSpanId: write.spanId });
    for (const stage of ['queue', 'lane', 'apply', 'commit', 'complete']) {
      expect(spans.get(`onewriter.${stage}`)!.service).toBe('onewriter-broker');
    }
  });

  it('has its stages one after the other', async () => {
    await send('INSERT INTO t(b) VALUES (?)', ['y'], traceIdOf(4));
    const spans = await collector.trace(traceIdOf(4), ['onewriter.write', ...STAGES]);
    const [queue, lane, apply, commit, complete] = ['queue', 'lane', 'apply', 'commit', 'complete'].map(
      stage => spans.get(`onewriter.${stage}`)!,
    );
    expect(queue!.end).toBeLessThanOrEqual(lane!.start);
    expect(lane!.end).toBeLessThanOrEqual(apply!.start);
    expect(apply!.end).toBeLessThanOrEqual(commit!.start);
    expect(commit!.end).toBeLessThanOrEqual(complete!.start);
    for (const span of spans.values()) expect(span.end).toBeGreaterThanOrEqual(span.start);
  });

  it('names the code of a write that failed, and no value', async () => {
    const { status } = await send("INSERT INTO t(a, b) VALUES (1, 'hidden')", [], traceIdOf(5));
    expect(status).toBe(409);
    const spans = await collector.trace(traceIdOf(5), ['onewriter.write', ...STAGES]);
    expect(spans.get('onewriter.write')).toMatchObject({
      failed: true,
      attributes: { 'error.type': 'CONSTRAINT_VIOLATION' },
    });
    const all = JSON.stringify(collector.spans, (_, value) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    expect(all).not.toMatch(/hidden|literal/);
  });

  it('is in its own trace, however many writes share its job', async () => {
    const ids = Array.from({ length: 12 }, (_, index) => traceIdOf(100 + index));
    await Promise.all(ids.map((id, index) => send('INSERT INTO t(b) VALUES (?)', [index], id)));
    for (const id of ids) await collector.trace(id, ['onewriter.write', 'onewriter.commit']);
  });

  it('is traced, too, where a libSQL client sends it', async () => {
    const answer = await fetch(`${stack.gatewayUrl}/t/acme/v2/pipeline`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.token}`,
        'content-type': 'application/json',
        traceparent: `00-${traceIdOf(9)}-00f067aa0ba902b7-01`,
      },
      body: JSON.stringify({
        baton: null,
        requests: [{ type: 'execute', stmt: { sql: 'INSERT INTO t(b) VALUES (8)' } }, { type: 'close' }],
      }),
    });
    expect(answer.status).toBe(200);
    await collector.trace(traceIdOf(9), ['onewriter.write', ...STAGES]);
  });

  it('is not recorded where its caller does not record', async () => {
    const unrecorded = traceIdOf(6);
    await send('INSERT INTO t(b) VALUES (1)', [], unrecorded, {
      traceparent: `00-${unrecorded}-00f067aa0ba902b7-00`,
    });
    await send('INSERT INTO t(b) VALUES (2)', [], traceIdOf(7));
    await collector.trace(traceIdOf(7), ['onewriter.write', ...STAGES]);
    expect(collector.spans.filter(({ traceId }) => traceId === unrecorded)).toEqual([]);
  });
});

describe('the log', () => {
  const line = async (...parts: string[]) => {
    const find = () =>
      stack
        .logs()
        .split('\n')
        .find(text => parts.every(part => text.includes(part)));
    await waitFor(() => find() !== undefined, { timeoutMs: 30_000, what: `a line with ${parts.join(', ')}` });
    return find()!;
  };

  it('logs a slow write with its stages, under the id of its request', async () => {
    const headers = { 'x-request-id': 'a-slow-one' };
    const slow = `INSERT INTO t(b) SELECT 'undisclosed' FROM (WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n
      WHERE i < 500000) SELECT count(*) FROM n)`;
    expect((await send(slow, [], traceIdOf(8), headers)).status).toBe(200);
    const logged = await line('Slow write', 'a-slow-one');
    expect(logged).toMatch(
      /tenant=acme .*receipt=w-[0-9a-f-]{36}\.0 .*statement=INSERT INTO t\(b\) SELECT \?/,
    );
    expect(logged).toContain(traceIdOf(8));
    expect(logged).toMatch(/totalMs=\d.* queueMs=.* laneMs=.* applyMs=.* commitMs=.* completeMs=/);
    await line('Request answered', 'a-slow-one', 'status=200', 'durationMs=');
  });

  it('logs steps under the id of their request', async () => {
    const response = await fetch(`${stack.gatewayUrl}/t/acme/v2/pipeline`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.token}`,
        'content-type': 'application/json',
        'x-request-id': 'of-steps',
      },
      body: JSON.stringify({
        baton: null,
        requests: [{ type: 'execute', stmt: { sql: 'INSERT INTO t(b) VALUES (9)' } }, { type: 'close' }],
      }),
    });
    expect(response.status).toBe(200);
    await line('requestIds=', 'of-steps', 'statement=INSERT INTO t(b) VALUES (?)');
  });

  it('logs a write that was set aside, under the id of its request', async () => {
    const response = await fetch(`${stack.gatewayUrl}/v1/tenants/acme/enqueue`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.token}`,
        'content-type': 'application/json',
        'x-request-id': 'a-lost-one',
      },
      body: JSON.stringify({ sql: "INSERT INTO t(a, b) VALUES (1, 'undisclosed')" }),
    });
    const { receiptId } = (await response.json()) as { receiptId: string };
    await line('Set aside', 'a-lost-one', receiptId, 'CONSTRAINT_VIOLATION');
  });

  it('has no values', () => {
    expect(stack.logs()).not.toMatch(/undisclosed|hidden|literal/);
  });
});
