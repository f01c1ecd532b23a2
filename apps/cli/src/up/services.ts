import { fileURLToPath } from 'node:url';

/** The services that `onewriter up` runs, in the order they are drained. */
export const SERVICES = ['gateway', 'dashboard', 'broker'] as const;

export type Service = (typeof SERVICES)[number];

/*
 * The command line runs the services and imports none of them: they are programs to it, found by their place in the
 * repository.
 */
const ENTRIES: Readonly<Record<Service, string>> = {
  gateway: '../../../gateway/dist/main.js',
  dashboard: '../../../dashboard/dist/main.js',
  broker: '../../../../workers/broker/dist/main.js',
};

/** Path of a service's program. */
export function servicePath(service: Service): string {
  return fileURLToPath(new URL(ENTRIES[service], import.meta.url));
}
