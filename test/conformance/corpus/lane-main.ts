import { connect, type Onewriter } from '@onewriter/sdk';
import {
  CorpusGateway,
  HttpSession,
  type InterfaceName,
  LibsqlSession,
  SdkSession,
  type Session,
} from './interfaces.ts';
import type { LaneNews, LaneOrder, LaneTask } from './lane-messages.ts';
import { readCorpusFile } from './read-corpus.ts';
import { runFile } from './run-file.ts';

/*
 * A process that runs files of a corpus, one at a time. It is a process of its own because a statement that never ends
 * holds it up for ever, through the SDK (reads run in the caller's process) and on plain SQLite alike: then it is killed.
 */

type StartOrder = Extract<LaneOrder, { type: 'start' }>;

let order: StartOrder;
let onewriter: Onewriter;
let gateway: CorpusGateway;
let tenants = 0;

process.on('message', (message: LaneOrder) => {
  handle(message).catch((error: unknown) => {
    process.stderr.write(`${(error as Error).stack}\n`);
    process.exit(1);
  });
});

async function handle(message: LaneOrder): Promise<void> {
  switch (message.type) {
    case 'start': {
      order = message;
      const { redisUrl, dataDir } = order.stack;
      onewriter = await connect({ redis: redisUrl, dataDir, reads: 'file', maxOpenReaders: 4 });
      gateway = new CorpusGateway(order.stack);
      return send({ type: 'ready' });
    }
    case 'run':
      return run(message.task);
    case 'end':
      await onewriter.close();
      await gateway.close();
      return process.disconnect();
    default:
      return message satisfies never;
  }
}

async function run({ through, path, file, leftOut }: LaneTask): Promise<void> {
  const report = await runFile({
    ...{ through, file, leftOut, script: readCorpusFile(path)! },
    ...{ limit: order.limit, folder: order.folder, pragmas: order.pragmas, dataDir: order.stack.dataDir },
    newTenant: () => `${order.lane}-${++tenants}`,
    openSession: tenant => openSession(through, tenant),
    onItem: index => send({ type: 'item', index }),
  });
  send({ type: 'done', report });
}

function openSession(through: InterfaceName, tenant: string): Session {
  switch (through) {
    case 'sdk':
      return new SdkSession(onewriter, tenant);
    case 'http':
      return new HttpSession(gateway, tenant);
    case 'libsql':
      return new LibsqlSession(gateway, tenant);
    default:
      return through satisfies never;
  }
}

function send(news: LaneNews): void {
  process.send!(news);
}
