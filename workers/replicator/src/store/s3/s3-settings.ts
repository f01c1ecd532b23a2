import { OnewriterError } from '@onewriter/protocol';

/** How an S3-compatible store is reached: the usual AWS variables. */
export interface S3Settings {
  readonly accessKeyId: string;
  /** Secret. */
  readonly secretAccessKey: string;
  /** Secret. */
  readonly sessionToken?: string | undefined;
  readonly region: string;
  /** Origin of a server that is not AWS; undefined: AWS. */
  readonly endpoint?: URL | undefined;
}

/** @throws OnewriterError MISCONFIGURED, which names the variable */
export function readS3Settings(env: Readonly<Record<string, string | undefined>>): S3Settings {
  const accessKeyId = env['AWS_ACCESS_KEY_ID'];
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY'];
  if (!accessKeyId || !secretAccessKey) {
    const missing = accessKeyId ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID';
    throw new OnewriterError(
      'MISCONFIGURED',
      `ONEWRITER_REPLICA_URL names a bucket, but ${missing} is not set.`,
    );
  }
  return {
    accessKeyId,
    secretAccessKey,
    sessionToken: env['AWS_SESSION_TOKEN'] || undefined,
    region: env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || 'us-east-1',
    endpoint: readEndpoint(env),
  };
}

function readEndpoint(env: Readonly<Record<string, string | undefined>>): URL | undefined {
  const name = env['AWS_ENDPOINT_URL_S3'] ? 'AWS_ENDPOINT_URL_S3' : 'AWS_ENDPOINT_URL';
  const text = env[name];
  if (!text) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username || url.search) {
    throw new OnewriterError(
      'MISCONFIGURED',
      `${name} is no address of a server: give http(s)://host[:port].`,
    );
  }
  return url;
}

/**
 * The address of a bucket, ending with '/'. Path style for endpoints: their servers have no name for each bucket. AWS wants the bucket in
 * the host name, except with a dot, which its certificate does not cover.
 */
export function bucketUrl(bucket: string, { endpoint, region }: S3Settings): URL {
  if (endpoint !== undefined) return new URL(`${endpoint.href.replace(/\/$/, '')}/${bucket}/`);
  const domain = `s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
  return new URL(bucket.includes('.') ? `https://${domain}/${bucket}/` : `https://${bucket}.${domain}/`);
}
