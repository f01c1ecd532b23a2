import { openLikeSqlite3 } from './like-sqlite3.js';

/* Sequelize's query interface, as in migrations of sequelize-cli. */

export async function record({ load, file, recording, Database }) {
  const { Sequelize, DataTypes } = load('sequelize');
  const sequelize = new Sequelize({
    dialect: 'sqlite',
    storage: file,
    dialectModule: openLikeSqlite3(Database),
    logging: false,
  });
  const on = sequelize.getQueryInterface();
  const id = { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true };
  const reference = (model, onDelete) => ({ references: { model, key: 'id' }, onDelete });
  /** As its users do: it turns nothing off where it rebuilds a table. */
  const withoutForeignKeys = async work => {
    await sequelize.query('PRAGMA foreign_keys = OFF');
    await work();
    await sequelize.query('PRAGMA foreign_keys = ON');
  };

  await recording.step('create', async () => {
    await on.createTable('teams', { id, name: DataTypes.TEXT });
    await on.createTable('projects', {
      id,
      team_id: { type: DataTypes.INTEGER, allowNull: false, ...reference('teams', 'CASCADE') },
      name: DataTypes.TEXT,
      budget: DataTypes.TEXT,
      legacy: DataTypes.TEXT,
    });
    await on.createTable('tasks', {
      id,
      project_id: { type: DataTypes.INTEGER, allowNull: false, ...reference('projects', 'CASCADE') },
      title: DataTypes.TEXT,
    });
  });
  await recording.step('add-and-rename', async () => {
    await on.addColumn('teams', 'plan', { type: DataTypes.TEXT, allowNull: false, defaultValue: 'free' });
    await withoutForeignKeys(() => on.renameColumn('tasks', 'title', 'subject'));
    await on.addIndex('projects', ['team_id'], { name: 'projects_team' });
  });
  await recording.step('change-and-drop', () =>
    withoutForeignKeys(async () => {
      await on.changeColumn('projects', 'budget', { type: DataTypes.INTEGER, defaultValue: 0 });
      await on.removeColumn('projects', 'legacy');
    }),
  );
  await recording.step('foreign-key', async () => {
    await on.createTable('people', { id, email: { type: DataTypes.TEXT, allowNull: false } });
    await on.addColumn('tasks', 'owner_id', { type: DataTypes.INTEGER });
    await withoutForeignKeys(async () => {
      await on.addConstraint('tasks', {
        type: 'foreign key',
        name: 'tasks_owner',
        fields: ['owner_id'],
        references: { table: 'people', field: 'id' },
        onDelete: 'SET NULL',
      });
      await on.changeColumn('teams', 'name', { type: DataTypes.TEXT, allowNull: false });
    });
  });
  await sequelize.close();
}
