import { expect, test } from 'vitest';
import { bucketUrl, readS3Settings } from './s3-settings.ts';

const KEYS = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' };
const urlOf = (bucket: string, env: Record<string, string>) =>
  bucketUrl(bucket, readS3Settings({ ...KEYS, ...env })).href;

test('puts the bucket in the host name at AWS, and in the path elsewhere', () => {
  expect(urlOf('replicas', { AWS_REGION: 'eu-west-1' })).toBe('https://replicas.s3.eu-west-1.amazonaws.com/');
  expect(urlOf('replicas', { AWS_REGION: 'cn-north-1' })).toBe(
    'https://replicas.s3.cn-north-1.amazonaws.com.cn/',
  );
  expect(urlOf('my.replicas', {})).toBe('https://s3.us-east-1.amazonaws.com/my.replicas/');
  expect(urlOf('replicas', { AWS_ENDPOINT_URL: 'http://minio:9000' })).toBe('http://minio:9000/replicas/');
  expect(urlOf('replicas', { AWS_ENDPOINT_URL: 'https://host/base/' })).toBe('https://host/base/replicas/');
});

test('prefers the endpoint that is for S3 alone', () => {
  expect(urlOf('replicas', { AWS_ENDPOINT_URL: 'http://all', AWS_ENDPOINT_URL_S3: 'http://s3' })).toBe(
    'http://s3/replicas/',
  );
});

test.each([
  [{ AWS_ACCESS_KEY_ID: '' }, 'AWS_ACCESS_KEY_ID'],
  [{ AWS_SECRET_ACCESS_KEY: '' }, 'AWS_SECRET_ACCESS_KEY'],
  [{ AWS_ENDPOINT_URL: 'minio:9000' }, 'AWS_ENDPOINT_URL'],
  [{ AWS_ENDPOINT_URL_S3: 'http://a:b@host' }, 'AWS_ENDPOINT_URL_S3'],
])('names the variable that is wrong: %j', (env, name) => {
  expect(() => readS3Settings({ ...KEYS, ...env })).toThrow(
    expect.objectContaining({ code: 'MISCONFIGURED', message: expect.stringContaining(name) }),
  );
});
