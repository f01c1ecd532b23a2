import type { WireError } from '@onewriter/protocol';
import type { FileSettings } from '../reads/open-tenant-file.ts';

/** What an export can be. */
export const EXPORT_FORMATS = ['ndjson', 'csv', 'sql', 'sqlite'] as const;

/** See {@link EXPORT_FORMATS}. */
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** What to export: the argument of the exporting process, as JSON. Its standard output is the export. */
export interface ExportTask {
  readonly files: FileSettings;
  readonly tenant: string;
  readonly format: ExportFormat;
  /** A table or view. Needed for CSV; without it NDJSON has all tables. */
  readonly table?: string | undefined;
  readonly values: 'plain' | 'tagged';
  /** A folder for the copy, which the gateway makes and removes. */
  readonly scratch: string;
}

/**
 * What it sends: once `begin` or `error` before any output, then `end` or `error`. An export without `end`, or with other
 * bytes than `end` counts, is not whole.
 */
export type ExportMessage =
  | {
      readonly type: 'begin';
      readonly commitSeq: number | undefined;
      /** Size of the whole export, where it is known before. */
      readonly bytes?: number | undefined;
    }
  | {
      readonly type: 'end';
      readonly bytes: number;
      /** Undefined for a copy of the file. */
      readonly rows?: number | undefined;
    }
  | { readonly type: 'error'; readonly error: WireError };
