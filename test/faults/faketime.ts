import { existsSync } from 'node:fs';
import { CannotInject } from './fault-failure.ts';
import { must, needProgram } from './machine.ts';

/** Path of the library that changes a process's clock, installed where it is missing. @throws CannotInject */
export async function findFaketime(): Promise<string> {
  await needProgram('faketime', 'faketime');
  const files = await must('dpkg', '-L', 'libfaketime');
  const library = files.split('\n').find(file => /\/libfaketimeMT\.so/.test(file)) ?? '';
  if (!existsSync(library)) throw new CannotInject('The package libfaketime has no libfaketimeMT.');
  return library;
}
