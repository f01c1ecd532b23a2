import { expect, it, onTestFinished, vi } from 'vitest';
import { readMemoryUsage } from './memory-usage.ts';

it('is the reading before where the process may open no file', () => {
  const before = readMemoryUsage();
  const usage = vi.spyOn(process, 'memoryUsage');
  onTestFinished(() => usage.mockRestore());
  const fail = (code: string) =>
    usage.mockImplementation(() => {
      throw Object.assign(new Error(code), { code });
    });
  fail('EMFILE');
  expect(readMemoryUsage()).toEqual(before);
  fail('ENOMEM');
  expect(() => readMemoryUsage()).toThrow('ENOMEM');
});
