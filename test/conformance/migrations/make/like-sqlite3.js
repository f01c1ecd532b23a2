/* As much of the package sqlite3 as Sequelize calls, over better-sqlite3, which needs no second build of SQLite. */

/** @param {new (file: string) => any} Database better-sqlite3 */
export function openLikeSqlite3(Database) {
  class LikeSqlite3 {
    constructor(file, _mode, done) {
      this.filename = file;
      this.db = new Database(file);
      queueMicrotask(() => done.call(this, null));
    }

    serialize(work) {
      work();
    }

    close(done) {
      this.db.close();
      queueMicrotask(() => done?.(null));
    }

    #run(sql, parameters, done, method) {
      let rows;
      let context = {};
      let error = null;
      try {
        const statement = this.db.prepare(sql);
        if (method === 'all' && statement.reader) rows = statement.all(parameters);
        else if (statement.reader) statement.all(parameters);
        else {
          const { changes, lastInsertRowid } = statement.run(parameters);
          context = { changes, lastID: Number(lastInsertRowid) };
        }
      } catch (thrown) {
        error = thrown;
      }
      queueMicrotask(() => done?.call(context, error, rows ?? []));
      return this;
    }

    run(sql, ...rest) {
      const done = rest.pop();
      return this.#run(sql, rest[0] ?? [], typeof done === 'function' ? done : undefined, 'run');
    }

    all(sql, ...rest) {
      const done = rest.pop();
      return this.#run(sql, rest[0] ?? [], done, 'all');
    }

    exec(sql, done) {
      return this.run(sql, done);
    }
  }
  return { Database: LikeSqlite3, OPEN_READWRITE: 2, OPEN_CREATE: 4, OPEN_FULLMUTEX: 0x10000 };
}
