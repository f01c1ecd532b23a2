import { describe, expect, it } from 'vitest';
import { encodeSender, hasWriteOf, PROTOCOL_VERSION, readLiveClient, unknownVersionOf } from './write-job.ts';

describe('the version of a job', () => {
  it.each([
    ['as the SDK writes it', `{"v":${PROTOCOL_VERSION},"client":"c-1"}`, undefined],
    ['anywhere in the message', `{ "client": "c-1", "v": ${PROTOCOL_VERSION} }`, undefined],
    ['newer', `{"v":${PROTOCOL_VERSION + 1},"client":"c-1"}`, PROTOCOL_VERSION + 1],
    ['that begins with the same digit', `{"v":${PROTOCOL_VERSION}0,"client":"c-1"}`, PROTOCOL_VERSION * 10],
    ['newer, anywhere', '{"client":"c-1","v":7}', 7],
    ['no version', '{"v":"newest"}', undefined],
    ['not there', '{}', undefined],
    ['of what is no message', '"text"', undefined],
    ['of null', 'null', undefined],
    ['of what is not JSON', '{"v":2', undefined],
  ])('%s', (_, json, expected) => {
    expect(unknownVersionOf(json)).toBe(expected);
  });
});

describe('the client that says that it is there', () => {
  const head = '{"v":1,"client":"c-01-ab","seq":3,"at":1700000000000';

  it('is read from the head of a job, with and without traces', () => {
    expect(readLiveClient(`${head},"live":1,"sql":[]}`)).toBe('c-01-ab');
    expect(readLiveClient(`${head},"tp":["00-1-2-01"],"live":1,"sql":[]}`)).toBe('c-01-ab');
  });

  it('is undefined if the job does not name one, whatever its SQL contains', () => {
    expect(readLiveClient(`${head},"sql":[",\\"live\\":1,"]}`)).toBeUndefined();
    expect(readLiveClient(`${head},"tp":["x"],"sql":["a"],"live":1,"ops":[]}`)).toBeUndefined();
    expect(readLiveClient('{"v":1,"client":"c:1","seq":3,"at":1,"live":1,"sql":[]}')).toBeUndefined();
  });
});

describe('the senders of a job', () => {
  const job = (text: string, ...senders: string[]) =>
    `{"v":1,"sql":${JSON.stringify([text])},"ops":[${senders.map(each => `{"s":0${encodeSender(each)}}`).join(',')}]}`;

  it('are found in its writes, and not in its texts', () => {
    expect(hasWriteOf(job('DELETE FROM t', 'one', 'many'), 'many')).toBe(true);
    expect(hasWriteOf(job('DELETE FROM t', 'many-more'), 'many')).toBe(false);
    expect(hasWriteOf(job(`SELECT '${encodeSender('many')}'`, 'one'), 'many')).toBe(false);
  });
});
