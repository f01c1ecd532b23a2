import { isOnewriterError, isOwnTable } from '@onewriter/protocol';
import {
  type DatabaseMetadata,
  type DatabaseMetadataOptions,
  SqliteIntrospector,
  type TableMetadata,
} from 'kysely';

/** SQLite's, without the tables that belong to the writer. A tenant without a file has none: a migrator looks before it makes them. */
export class OnewriterIntrospector extends SqliteIntrospector {
  override async getTables(options?: DatabaseMetadataOptions): Promise<TableMetadata[]> {
    try {
      const tables = await super.getTables(options);
      return tables.filter(({ name }) => !isOwnTable(name));
    } catch (error) {
      if (isOnewriterError(error, 'TENANT_NOT_FOUND')) return [];
      throw error;
    }
  }

  override async getMetadata(options?: DatabaseMetadataOptions): Promise<DatabaseMetadata> {
    return { tables: await this.getTables(options) };
  }
}
