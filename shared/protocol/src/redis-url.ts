import { OnewriterError } from './onewriter-error.ts';

/** Where Sentinels are and what to ask them for: options of ioredis. */
export interface SentinelOptions {
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** Name of the primary, as the Sentinels know it. */
  readonly name: string;
  readonly role: 'master';
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: string;
  readonly tls?: object;
  readonly sentinelTLS?: object;
  readonly enableTLSForSentinelMode?: true;
  /** Listens to the Sentinels: an old primary that still answers is left as soon as there is a new one. */
  readonly failoverDetector: true;
}

const SCHEME = /^(rediss?)\+sentinel:\/\//;
const FORM = 'redis+sentinel://[user:password@]host:port,host:port/name[/db]';
const DEFAULT_PORT = 26_379;

/** Whether a URL lists Sentinels. */
export function isSentinelUrl(url: string): boolean {
  return SCHEME.test(url);
}

/**
 * Reads `redis+sentinel://[user:password@]host:port,host:port/name[/db]`. User and password are those of Redis; those of
 * the Sentinels are `?sentinelUsername=` and `?sentinelPassword=`. `rediss+sentinel://` uses TLS to both.
 * @returns undefined where the URL is of another kind
 * @throws OnewriterError MISCONFIGURED where it lists Sentinels and cannot be read
 */
export function parseSentinelUrl(url: string): SentinelOptions | undefined {
  const scheme = SCHEME.exec(url);
  if (scheme === null) return undefined;
  const [rest, query = ''] = url.slice(scheme[0].length).split('?', 2) as [string, string?];
  const at = rest.lastIndexOf('@');
  const [hosts = '', name = '', db = '0', ...more] = rest.slice(at + 1).split('/');
  const sentinels = hosts.split(',').map(readAddress);
  if (name === '' || !/^\d+$/.test(db) || more.length > 0) throw malformed();
  const [username = '', password = ''] = at === -1 ? [] : splitOnce(rest.slice(0, at));
  const parameters = new URLSearchParams(query);
  const sentinelUsername = parameters.get('sentinelUsername') ?? '';
  const sentinelPassword = parameters.get('sentinelPassword') ?? '';
  return {
    sentinels,
    name: decode(name),
    role: 'master',
    db: Number(db),
    failoverDetector: true,
    ...(username === '' ? {} : { username: decode(username) }),
    ...(password === '' ? {} : { password: decode(password) }),
    ...(sentinelUsername === '' ? {} : { sentinelUsername }),
    ...(sentinelPassword === '' ? {} : { sentinelPassword }),
    ...(scheme[1] === 'rediss' ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true as const } : {}),
  };
}

function readAddress(text: string): { host: string; port: number } {
  const [, ipv6, name, port] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = ipv6 ?? name;
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) throw malformed();
  return { host, port: Number(port ?? DEFAULT_PORT) };
}

function splitOnce(text: string): [string, string] {
  const colon = text.indexOf(':');
  return colon === -1 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed();
  }
}

/** The URL may hold a password: it stays out of the message. */
function malformed(): OnewriterError {
  return new OnewriterError('MISCONFIGURED', `The URL of the Sentinels must look like ${FORM}.`);
}
