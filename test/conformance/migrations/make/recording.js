import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/* Writes down what a tool sends to SQLite. */

/** Some migrations hold the time, or a random name: these, so that the files stay the same. */
const NOW_MS = Date.UTC(2026, 0, 1);

/** Records each step of one tool as a file `<folder>/<n>-<step>.sql`. */
export class Recording {
  folder;
  #steps = 0;
  /** undefined: nothing is recorded now. */
  #texts;
  /** Called after each recorded step. */
  #afterStep;

  constructor(folder, afterStep) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    this.folder = folder;
    this.#afterStep = afterStep;
  }

  /** Notes a text that SQLite runs, with its values in it. */
  note(sql) {
    this.#texts?.push(sql);
  }

  /** Runs a migration, and writes down what it sent. */
  async step(name, work) {
    this.#texts = [];
    await at(NOW_MS, work);
    const texts = this.#texts;
    this.#texts = undefined;
    this.write(name, texts.map(sql => `${sql.trim().replace(/;+$/, '')};`).join('\n'));
    this.#afterStep(this.#steps);
  }

  /** Writes down a migration that is a text of the tool's own. */
  write(name, text) {
    const number = String(++this.#steps).padStart(2, '0');
    const words = name.replace(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
    writeFileSync(join(this.folder, `${number}-${words}.sql`), `${text.trim()}\n`);
  }
}

/** A module in the place of better-sqlite3, which shows what it runs to `globalThis.recording`. */
export function recordingModule(realPath) {
  return `const Database = require(${JSON.stringify(realPath)});
module.exports = class Recorded extends Database {
  constructor(file, options) {
    super(file, { ...options, verbose: sql => globalThis.recording?.note(sql) });
  }
};
module.exports.SqliteError = Database.SqliteError;
`;
}

async function at(nowMs, work) {
  const RealDate = globalThis.Date;
  const realRandom = Math.random;
  let calls = 0;
  Math.random = () => ((++calls * 7919) % 10007) / 10007;
  globalThis.Date = class extends RealDate {
    constructor(...given) {
      super(...(given.length === 0 ? [nowMs] : given));
    }

    static now() {
      return nowMs;
    }
  };
  try {
    await work();
  } finally {
    globalThis.Date = RealDate;
    Math.random = realRandom;
  }
}
