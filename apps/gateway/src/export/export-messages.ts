import type { WireError } from '@onewriter/protocol';
import type { TenantFiles } from '../reads/open-tenant-file.ts';

/** What an export can be. */
export const EXPORT_FORMATS = ['ndjson', 'csv', 'sql', 'sqlite'] as const;

/** See {@link EXPORT_FORMATS}. */
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** What the exporting process is told, as its argument (JSON). Its standard output is the export. */
export interface ExportTask {
  readonly files: TenantFiles;
  readonly tenant: string;
  readonly format: ExportFormat;
  /** Needed for CSV; of NDJSON all tables where there is none. */
  readonly table?: string | undefined;
  readonly values: 'plain' | 'tagged';
  /** A folder for the copy, which is made by the gateway and removed by whoever empties the trash. */
  readonly scratch: string;
}

/** What it sends: once `begin` or `error` before any output, then `end` or `error`. */
export type ExportMessage =
  | { readonly type: 'begin'; readonly commitSeq: number | undefined }
  | { readonly type: 'end' }
  | { readonly type: 'error'; readonly error: WireError };
