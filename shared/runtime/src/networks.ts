import { BlockList, isIPv4, isIPv6 } from 'node:net';

/** Networks by their CIDRs, IPv4 and IPv6. */
export interface Networks {
  /** The CIDRs as they were configured. */
  readonly cidrs: readonly string[];
  /** Whether an address is in one of them. An IPv4 address in IPv6's form (`::ffff:10.0.0.1`) counts as IPv4. */
  has(address: string | undefined): boolean;
}

/** How an IPv6 socket names an IPv4 peer. */
const MAPPED = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i;
const PREFIX = /^\d{1,3}$/;

/**
 * Reads a list of CIDRs with commas between them; an address without a prefix is that address alone.
 * @throws TypeError naming each entry that is none
 */
export function parseNetworks(text: string): Networks {
  const cidrs = text.split(/[\s,]+/).filter(entry => entry !== '');
  // Apart: one list would compare IPv4 addresses with IPv6 networks, too.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  const wrong = cidrs.filter(cidr => !addNetwork(lists, cidr));
  if (wrong.length > 0) {
    throw new TypeError(`not a network such as 10.0.0.0/8 or fd00::/8: ${wrong.join(', ')}`);
  }
  return {
    cidrs,
    has: address => {
      if (address === undefined) return false;
      // The zone of a link-local address, fe80::1%eth0, is not part of it.
      const plain = address.replace(/%.*$/, '');
      const ipv4 = MAPPED.exec(plain)?.[1] ?? plain;
      if (isIPv4(ipv4)) return lists.ipv4.check(ipv4, 'ipv4');
      return isIPv6(plain) && lists.ipv6.check(plain, 'ipv6');
    },
  };
}

/** @returns false where it is no network */
function addNetwork(lists: Readonly<Record<'ipv4' | 'ipv6', BlockList>>, cidr: string): boolean {
  const [address = '', prefix, ...rest] = cidr.split('/');
  const family = isIPv4(address) ? 'ipv4' : isIPv6(address) ? 'ipv6' : undefined;
  // Networks of mapped addresses are IPv4 networks: write them so.
  if (family === undefined || rest.length > 0 || address.includes('%') || /^::ffff:/i.test(address))
    return false;
  const bits = family === 'ipv4' ? 32 : 128;
  if (prefix !== undefined && !(PREFIX.test(prefix) && Number(prefix) <= bits)) return false;
  lists[family].addSubnet(address, prefix === undefined ? bits : Number(prefix), family);
  return true;
}
