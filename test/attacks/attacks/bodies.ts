import { type Attack, pause, type Target } from '../rig.ts';

/* Attacks with bodies that take long to read. */

/** Objects whose names are all others: the most costly JSON of its length. */
function costlyObjects(count: number, names: number): string[] {
  return Array.from({ length: count }, (_, object) => {
    const members = Array.from(
      { length: names },
      (_, name) => `"${(object * names + name).toString(36)}x":1`,
    );
    return `{${members.join()}}`;
  });
}

/** Sends bodies one after the other, `count` at a time. @param leavesAfterMs the caller does not wait for an answer */
async function send(
  target: Target,
  count: number,
  requests: readonly (readonly [path: string, type: string, body: string])[],
  leavesAfterMs?: number,
): Promise<void> {
  const token = await target.token('write');
  await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      for (let turn = index; !target.signal.aborted; turn++) {
        const [path, type, body] = requests[turn % requests.length]!;
        const leaving = leavesAfterMs === undefined ? [] : [AbortSignal.timeout(leavesAfterMs)];
        await fetch(`${target.gatewayUrl}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token}`, 'content-type': type },
          body,
          signal: AbortSignal.any([target.signal, ...leaving]),
        })
          .then(response => response.text())
          .catch(() => {}); // refused, or it has left
        // One that is refused at once is no attack on bodies.
        await pause(20);
      }
    }),
  );
}

const JSON_TYPE = 'application/json';

function costlyRequests({ tenant }: Target): [path: string, type: string, body: string][] {
  const statements = costlyObjects(5_000, 100).map(params => `{"sql":"DELETE FROM t","params":${params}}`);
  const requests = costlyObjects(4_900, 100).map(
    more => `{"type":"execute","stmt":{"sql":"SELECT 1"},"more":${more}}`,
  );
  return [
    [`/v1/tenants/${tenant}/transaction`, JSON_TYPE, `{"statements":[${statements.join()}]}`],
    [`/t/${tenant}/v3/pipeline`, JSON_TYPE, `{"requests":[${requests.join()}]}`],
  ];
}

export const costlyBodies: Attack = {
  name: 'costly-bodies',
  summary: '8 bodies at a time with 500,000 names, of /v1 and of libSQL',
  async run(target) {
    await send(target, 8, costlyRequests(target));
  },
};

export const leftBodies: Attack = {
  name: 'left-bodies',
  summary: 'the same, 3 at a time, whose callers leave when the bodies are there',
  async run(target) {
    await send(target, 3, costlyRequests(target), 300);
  },
};

/** As much SQL in one text as is allowed. */
const TEXT_CHARACTERS = 1_000_000;
/** Texts in a body of 8 MB, which is the largest. */
const TEXTS = 7;

/** A pipeline of scripts with a statement repeated as often as fits. */
function longScripts(statement: string, texts = TEXTS, characters = TEXT_CHARACTERS): string {
  const script = statement.repeat(Math.floor(characters / statement.length));
  const requests = Array.from({ length: texts }, (_, index) => ({
    type: 'sequence',
    sql: `-- ${index}\n${script}`,
  }));
  return JSON.stringify({ requests });
}

export const longScriptsOfLibsql: Attack = {
  name: 'long-scripts',
  summary:
    '4 libSQL bodies at a time with 300,000 statements that write, control transactions or are refused',
  async run(target) {
    const path = `/t/${target.tenant}/v3/pipeline`;
    await send(target, 4, [
      [path, JSON_TYPE, longScripts('DELETE FROM t WHERE id=0;')],
      [path, JSON_TYPE, longScripts('BEGIN;COMMIT;')],
      [path, JSON_TYPE, longScripts('VACUUM;', 1, TEXT_CHARACTERS / 4)],
      // Those that the event loop would read.
      ...Array.from({ length: 20 }, (): [string, string, string] => [
        path,
        JSON_TYPE,
        longScripts('VACUUM;', 1, 60_000),
      ]),
    ]);
  },
};

export const costlyRows: Attack = {
  name: 'costly-rows',
  summary: 'imported rows of 550,000 names, and records of millions of fields',
  async run(target) {
    const [row] = costlyObjects(1, 550_000);
    const ndjson = 'application/x-ndjson';
    const path = `/v1/tenants/${target.tenant}/import`;
    await send(target, 4, [
      [`${path}?table=t`, ndjson, `${row}\n`],
      [path, ndjson, `{"table":"t","row":${row}}\n`],
      [`${path}?table=t`, ndjson, `{"onewriter_export":${row}}\n`],
      [`${path}?table=t`, 'text/csv', `${'a,'.repeat(3_900_000)}\n`],
      [`${path}?table=t`, 'text/csv', `v\n${','.repeat(7_900_000)}\n`],
    ]);
  },
};
