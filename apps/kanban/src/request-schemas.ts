import { z } from 'zod';
import { PRIORITIES } from './board.ts';

/*
 * The bodies of the API's requests, and the bounds of what people type.
 */

const id = z.string().regex(/^[\w-]{1,64}$/, 'letters, digits, - and _, up to 64');
/** An id the client makes lets it send a request again without making a second thing. */
const newId = id.default(() => crypto.randomUUID());
const title = z.string().trim().min(1).max(200);

const cardFields = z.object({
  title,
  description: z.string().max(20_000),
  memberId: id.nullable(),
  priority: z.enum(PRIORITIES),
  effort: z.number().int().min(0).max(1_000).nullable(),
  dueDate: z.iso.date().nullable(),
});

export const titleBody = z.object({ title });

export const newBoardBody = z.object({
  id: newId,
  title,
  columns: z.array(title).max(20).default(['To do', 'In progress', 'Done']),
});

export const newColumnBody = z.object({ id: newId, title });

export const newCardBody = cardFields.partial().extend({ id: newId, title });

export const editCardBody = cardFields
  .partial()
  .refine(fields => Object.keys(fields).length > 0, 'at least one field');

export const moveCardBody = z.object({ columnId: id, position: z.number().int().min(0) });

export const newCommentBody = z.object({
  id: newId,
  text: z.string().trim().min(1).max(20_000),
  attachments: z
    .array(
      z.object({
        id: newId,
        name: z.string().trim().min(1).max(200),
        // Links are shown to others: only those that open a page, never javascript:.
        url: z.url({ protocol: /^https?$/ }).max(2_000),
        type: z.string().max(100).default('text/html'),
        sizeBytes: z.number().int().min(0).default(0),
      }),
    )
    .max(10)
    .default([]),
});

export const memberBody = z.object({ name: z.string().trim().min(1).max(100) });

export const memberId = id;

export const tagName = z.string().trim().min(1).max(50);

export const activityLimit = z.coerce.number().int().min(1).max(200).default(20);
