import type { Fault } from '../fault.ts';
import { killBroker } from './kill-broker.ts';

/** All faults, by name. */
export const FAULTS: ReadonlyMap<string, Fault> = new Map([killBroker].map(fault => [fault.name, fault]));
