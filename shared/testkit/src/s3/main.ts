import type { AddressInfo } from 'node:net';
import { createObjects } from './s3-objects.ts';
import { createS3Server } from './s3-server.ts';

/** The server of `startS3Process`. */
const [options = '{}'] = process.argv.slice(2);
const { bucket, credentials, directory, port } = JSON.parse(options) as {
  bucket: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
  directory?: string;
  port?: number;
};
const { server } = createS3Server({ bucket, credentials, objects: createObjects(directory) });
server.listen(port ?? 0, '127.0.0.1', () => {
  process.send?.({ type: 'ready', port: (server.address() as AddressInfo).port });
});
// The parent has ended.
process.on('disconnect', () => process.exit());
