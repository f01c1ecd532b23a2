import { expect, test } from 'vitest';
import { parseReplicaUrl, parseReplicaUrls } from './replica-url.ts';

test('reads a bucket with and without a prefix', () => {
  expect(parseReplicaUrl('s3://backups')).toEqual({
    kind: 's3',
    bucket: 'backups',
    prefix: '',
    address: 's3://backups',
  });
  expect(parseReplicaUrl('s3://backups//one/two/')).toEqual({
    kind: 's3',
    bucket: 'backups',
    prefix: 'one/two/',
    address: 's3://backups/one/two',
  });
});

test('reads a directory', () => {
  expect(parseReplicaUrl('file:///mnt/replica%20one/')).toEqual({
    kind: 'file',
    directory: '/mnt/replica one',
    address: 'file:///mnt/replica one',
  });
});

test.each([
  ['', 'no URL'],
  ['/mnt/replica', 'no URL'],
  ['https://bucket.s3.amazonaws.com/x', 'begins with https://'],
  ['s3://', 'no valid bucket'],
  ['s3://a', 'no valid bucket'],
  ['s3://bucket:9000/x', 'AWS_ENDPOINT_URL_S3'],
  ['s3://key:secret@bucket/x', 'AWS_SECRET_ACCESS_KEY'],
  ['s3://bucket/x?region=eu', '"?"'],
  ['s3://bucket/a b', 'prefix with'],
  ['s3://bucket/.hidden', 'prefix with'],
  ['file://mnt/replica', 'three slashes'],
  ['file:///', 'no directory'],
])('refuses %s', (url, why) => {
  expect(() => parseReplicaUrl(url)).toThrow(
    expect.objectContaining({ code: 'MISCONFIGURED', message: expect.stringContaining(why) }),
  );
});

test('does not repeat a secret in the message', () => {
  expect(() => parseReplicaUrl('s3://key:hunter2@bucket/x')).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
  );
});

test('reads a list, and refuses the same store twice', () => {
  expect(parseReplicaUrls('s3://one/x, file:///two').map(({ address }) => address)).toEqual([
    's3://one/x',
    'file:///two',
  ]);
  expect(() => parseReplicaUrls('s3://one/x,s3://one/x/')).toThrow('twice');
});
