import { isAbsolute, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OnewriterError } from '@onewriter/protocol';

/** Where replicas are stored. */
export type ReplicaAddress =
  /** `prefix` is '' or ends with '/'. */
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string; readonly address: string }
  | { readonly kind: 'file'; readonly directory: string; readonly address: string };

const FORMS = 'Give s3://bucket/prefix or file:///directory.';
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/;
/** Names that need no escape in a URL, a signature or a list. */
const PREFIX_PART = /^[A-Za-z0-9_=-][A-Za-z0-9._=-]*$/;

/** The stores of ONEWRITER_REPLICA_URL, a list by comma; the first is the fence. @throws OnewriterError MISCONFIGURED */
export function parseReplicaUrls(list: string): readonly ReplicaAddress[] {
  const addresses = list.split(',').map(url => parseReplicaUrl(url.trim()));
  const twice = addresses.find(({ address }, index) =>
    addresses.slice(0, index).some(other => other.address === address),
  );
  if (twice !== undefined) throw misconfigured(`names ${twice.address} twice.`);
  return addresses;
}

/** @throws OnewriterError MISCONFIGURED, without what may be a secret in it. */
export function parseReplicaUrl(text: string): ReplicaAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw misconfigured(`has a part that is no URL. ${FORMS}`);
  if (url.username !== '' || url.password !== '') {
    throw misconfigured(
      'has credentials in a URL. Give them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
    );
  }
  if (url.search !== '' || url.hash !== '') throw misconfigured(`has a "?" or "#" in a URL. ${FORMS}`);
  if (url.protocol === 's3:') return parseBucket(url);
  if (url.protocol === 'file:') return parseDirectory(url);
  throw misconfigured(`begins with ${url.protocol}//. ${FORMS}`);
}

function parseBucket(url: URL): ReplicaAddress {
  if (url.port !== '') {
    throw misconfigured(
      'has a port in an s3:// URL. The host is the bucket; the server goes into AWS_ENDPOINT_URL_S3.',
    );
  }
  const bucket = url.host;
  if (!BUCKET.test(bucket)) throw misconfigured(`has no valid bucket in s3://${bucket}. ${FORMS}`);
  const parts = url.pathname.split('/').filter(part => part !== '');
  const wrong = parts.find(part => !PREFIX_PART.test(part));
  if (wrong !== undefined) {
    throw misconfigured(`has a prefix with "${wrong}". Use letters, digits and . _ = - between slashes.`);
  }
  const prefix = parts.map(part => `${part}/`).join('');
  return { kind: 's3', bucket, prefix, address: `s3://${bucket}/${prefix}`.replace(/\/$/, '') };
}

function parseDirectory(url: URL): ReplicaAddress {
  if (url.host !== '') {
    throw misconfigured(
      `names the host "${url.host}" in a file: URL. Write three slashes: file:///directory.`,
    );
  }
  const directory = normalize(fileURLToPath(url)).replace(/(?<=.)\/+$/, '');
  if (!isAbsolute(directory) || directory === '/') throw misconfigured(`has no directory. ${FORMS}`);
  return { kind: 'file', directory, address: `file://${directory}` };
}

function misconfigured(problem: string): OnewriterError {
  return new OnewriterError('MISCONFIGURED', `ONEWRITER_REPLICA_URL ${problem}`);
}
