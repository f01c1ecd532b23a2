import { type PreparedBodies, prepareHranaBody } from '../dialects/hrana/prepare-body.ts';
import { READ_SQLD, type SqldBodies } from '../dialects/hrana/sqld-bodies.ts';
import { z } from '../dialects/v1/schemas.ts';
import { type JsonRow, parseJsonRow, parseTableRow, type TableRow } from '../import/json-row.ts';
import { parseJson, validate } from './parse-body.ts';

/** Body of `PUT /v1/tenants/{tenant}`. */
export const CreateTenant = z
  .object({
    script: z.string().optional().openapi({
      description: 'Applied where there is no such tenant: it is there with all of it, or not at all.',
    }),
  })
  .openapi('CreateTenant');

/** Large bodies, and lines of bodies, that are no write ready to be sent. */
export interface OtherBodies extends PreparedBodies, SqldBodies {
  createTenant: z.output<typeof CreateTenant>;
  importRow: JsonRow;
  tableRow: TableRow;
}
export type OtherBodyName = keyof OtherBodies;

const READ: { readonly [Name in OtherBodyName]: (bytes: Uint8Array) => OtherBodies[Name] } = {
  pipeline: bytes => prepareHranaBody('pipeline', bytes),
  cursor: bytes => prepareHranaBody('cursor', bytes),
  ...READ_SQLD,
  createTenant: bytes => validate(CreateTenant, parseJson(bytes)),
  importRow: bytes => parseJsonRow(new TextDecoder().decode(bytes)),
  tableRow: bytes => parseTableRow(new TextDecoder().decode(bytes)),
};

/** Reads a body. @throws OnewriterError INVALID_ARGUMENT naming the field; as prepareHranaBody() and parseJsonRow() */
export function readOtherBody<Name extends OtherBodyName>(name: Name, bytes: Uint8Array): OtherBodies[Name] {
  return READ[name](bytes);
}
