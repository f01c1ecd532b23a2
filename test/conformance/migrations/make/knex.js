/* Knex's migrations, with its schema builder. */

/** What Knex says to do for migrations that rebuild a table: without a transaction around them, they turn foreign keys off. */
const WITHOUT_TRANSACTION = { transaction: false };

const MIGRATIONS = {
  create: {
    up: async on => {
      await on.schema.createTable('teams', table => {
        table.increments('id');
        table.text('name');
      });
      await on.schema.createTable('projects', table => {
        table.increments('id');
        table.integer('team_id').notNullable().references('teams.id').onDelete('CASCADE');
        table.text('name');
        table.text('budget');
        table.text('legacy');
      });
      await on.schema.createTable('tasks', table => {
        table.increments('id');
        table.integer('project_id').notNullable().references('projects.id').onDelete('CASCADE');
        table.text('title');
      });
    },
  },
  'add-and-rename': {
    up: async on => {
      await on.schema.alterTable('teams', table => {
        table.text('plan').notNullable().defaultTo('free');
      });
      await on.schema.alterTable('tasks', table => {
        table.renameColumn('title', 'subject');
      });
      await on.schema.alterTable('projects', table => {
        table.index(['team_id'], 'projects_team');
      });
    },
  },
  'change-and-drop': {
    config: WITHOUT_TRANSACTION,
    up: async on => {
      await on.schema.alterTable('projects', table => {
        table.integer('budget').defaultTo(0).alter();
      });
      await on.schema.alterTable('projects', table => {
        table.dropColumn('legacy');
      });
    },
  },
  'foreign-key': {
    config: WITHOUT_TRANSACTION,
    up: async on => {
      await on.schema.createTable('people', table => {
        table.increments('id');
        table.text('email').notNullable();
      });
      await on.schema.alterTable('tasks', table => {
        table.integer('owner_id').references('people.id').onDelete('SET NULL');
      });
      await on.schema.alterTable('teams', table => {
        table.dropNullable('name');
      });
    },
  },
};

export async function record({ load, file, recording }) {
  const { knex: createKnex } = load('knex');
  const knex = createKnex({
    client: 'better-sqlite3',
    connection: { filename: file },
    useNullAsDefault: true,
  });
  const names = Object.keys(MIGRATIONS);
  for (const [index, name] of names.entries()) {
    const migrationSource = {
      getMigrations: async () => names.slice(0, index + 1),
      getMigrationName: migration => migration,
      getMigration: async migration => ({ down: async () => undefined, ...MIGRATIONS[migration] }),
    };
    await recording.step(name, () => knex.migrate.latest({ migrationSource }));
  }
  await knex.destroy();
}
