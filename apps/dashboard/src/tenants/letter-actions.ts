import type { Letter, LetterBox } from '@onewriter/runtime/dead-letters';
import { noSuchLetter } from '@onewriter/runtime/dead-letters';
import type { AuditTrail } from '../security/audit-trail.ts';

/** What can be done with a dead letter; each is written down. */
export interface LetterActions {
  /** Sends its write again, as a new job; the letter goes when the queue has it. @throws OnewriterError */
  retry(letter: Letter): Promise<void>;
  /** Removes it permanently. @throws OnewriterError NOT_FOUND */
  drop(letter: Letter): Promise<void>;
}

/** The {@link LetterActions} of a letter box. */
export function createLetterActions(letters: LetterBox, audit: AuditTrail): LetterActions {
  const describe = ({ id, content }: Letter) => content?.receiptId ?? id;
  return {
    retry: letter =>
      audit.record('dead-letter.retry', letter.content?.tenant ?? '', describe(letter), async () => {
        await letters.resend(letter);
      }),
    drop: letter =>
      audit.record('dead-letter.drop', letter.content?.tenant ?? '', describe(letter), async () => {
        if (!(await letters.remove(letter.id))) throw noSuchLetter(letter.id);
      }),
  };
}
