import type { Fault } from '../fault.ts';
import { killBroker } from './kill-broker.ts';

/** As `kill-broker`, while clients that have nothing but Redis read what they have written. */
export const ownerReads: Fault = {
  ...killBroker,
  name: 'owner-reads',
  summary: 'kill -9 of the only broker at random points, while clients read their writes through it.',
  rig: { clients: [{ reads: 'owner' }, { reads: 'owner' }, {}] },
  rounds: 20,
};
