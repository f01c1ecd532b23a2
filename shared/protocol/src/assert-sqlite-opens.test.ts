import { describe, expect, it } from 'vitest';
import { assertSqliteOpens } from './assert-sqlite-opens.ts';

const messageOf = (text: string) => {
  try {
    assertSqliteOpens(() => {
      throw new Error(text);
    });
  } catch (error) {
    return (error as Error).message;
  }
  return '';
};

describe('assertSqliteOpens', () => {
  it('opens and closes a database', () => {
    let closed = 0;
    assertSqliteOpens(() => ({ close: () => ++closed }));
    expect(closed).toBe(1);
  });

  it('names both versions, and the command, for packages of another Node', () => {
    const message = messageOf(
      "The module '/srv/app/node_modules/better-sqlite3/build/Release/better_sqlite3.node'\n" +
        'was compiled against a different Node.js version using\nNODE_MODULE_VERSION 115. This version of Node.js ' +
        'requires\nNODE_MODULE_VERSION 127. Please try re-compiling or re-installing\nthe module.',
    );
    expect(message).toContain('built for another Node (module version 115) than this one');
    expect(message).toMatch(/: cd \/srv\/app && npm rebuild better-sqlite3$/);
    expect(message).not.toContain('\n');
  });

  it('says the first line of anything else', () => {
    expect(messageOf('Could not locate the bindings file. Tried:\n → /x')).toMatch(
      /Could not locate the bindings file\. Tried: Repair it .*: npm rebuild better-sqlite3$/,
    );
  });
});
