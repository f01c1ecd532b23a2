/* TypeORM's migrations, with its query runner. */

export async function record({ load, file, recording }) {
  const { DataSource, Table, TableColumn, TableForeignKey, TableIndex } = load('typeorm');
  const id = { name: 'id', type: 'integer', isPrimary: true };
  const reference = (columnName, referencedTableName, onDelete) => ({
    columnNames: [columnName],
    referencedColumnNames: ['id'],
    referencedTableName,
    onDelete,
  });

  class Create1700000000001 {
    async up(runner) {
      await runner.createTable(
        new Table({ name: 'teams', columns: [id, { name: 'name', type: 'text', isNullable: true }] }),
      );
      await runner.createTable(
        new Table({
          name: 'projects',
          columns: [
            id,
            { name: 'team_id', type: 'integer' },
            { name: 'name', type: 'text', isNullable: true },
            { name: 'budget', type: 'text', isNullable: true },
            { name: 'legacy', type: 'text', isNullable: true },
          ],
          foreignKeys: [reference('team_id', 'teams', 'CASCADE')],
        }),
      );
      await runner.createTable(
        new Table({
          name: 'tasks',
          columns: [
            id,
            { name: 'project_id', type: 'integer' },
            { name: 'title', type: 'text', isNullable: true },
          ],
          foreignKeys: [reference('project_id', 'projects', 'CASCADE')],
        }),
      );
    }
  }
  class AddAndRename1700000000002 {
    async up(runner) {
      await runner.addColumn('teams', new TableColumn({ name: 'plan', type: 'text', default: "'free'" }));
      await runner.renameColumn('tasks', 'title', 'subject');
      await runner.createIndex(
        'projects',
        new TableIndex({ name: 'projects_team', columnNames: ['team_id'] }),
      );
    }
  }
  class ChangeAndDrop1700000000003 {
    async up(runner) {
      await runner.changeColumn(
        'projects',
        'budget',
        new TableColumn({ name: 'budget', type: 'integer', default: 0 }),
      );
      await runner.dropColumn('projects', 'legacy');
    }
  }
  class ForeignKey1700000000004 {
    async up(runner) {
      await runner.createTable(new Table({ name: 'people', columns: [id, { name: 'email', type: 'text' }] }));
      await runner.addColumn(
        'tasks',
        new TableColumn({ name: 'owner_id', type: 'integer', isNullable: true }),
      );
      await runner.createForeignKey(
        'tasks',
        new TableForeignKey(reference('owner_id', 'people', 'SET NULL')),
      );
      await runner.changeColumn(
        'teams',
        'name',
        new TableColumn({ name: 'name', type: 'text', isUnique: true }),
      );
    }
  }

  const all = [
    Create1700000000001,
    AddAndRename1700000000002,
    ChangeAndDrop1700000000003,
    ForeignKey1700000000004,
  ];
  for (const [index, migration] of all.entries()) {
    const source = new DataSource({
      type: 'better-sqlite3',
      database: file,
      migrations: all.slice(0, index + 1),
    });
    await source.initialize();
    await recording.step(migration.name.replace(/\d+$/, ''), () => source.runMigrations());
    await source.destroy();
  }
}
