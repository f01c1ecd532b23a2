import { INTERNAL_TABLE_PREFIX } from '@onewriter/protocol';
import {
  type DatabaseMetadata,
  type DatabaseMetadataOptions,
  SqliteIntrospector,
  type TableMetadata,
} from 'kysely';

/** SQLite's, without the tables that belong to the writer. */
export class OnewriterIntrospector extends SqliteIntrospector {
  override async getTables(options?: DatabaseMetadataOptions): Promise<TableMetadata[]> {
    const tables = await super.getTables(options);
    return tables.filter(({ name }) => !name.startsWith(INTERNAL_TABLE_PREFIX));
  }

  override async getMetadata(options?: DatabaseMetadataOptions): Promise<DatabaseMetadata> {
    return { tables: await this.getTables(options) };
  }
}
