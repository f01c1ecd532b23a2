import { join } from 'node:path';

/* MikroORM's migrations: its schema generator compares the entities with the file. */

const id = { name: 'id', type: 'integer', primary: true };
const entity = (name, tableName, ...properties) => ({ name, tableName, properties: [id, ...properties] });
const text = (name, more = {}) => ({ name, type: 'text', nullable: true, ...more });
const reference = (name, to, more) => ({
  name,
  fieldName: `${name}_id`,
  kind: 'm:1',
  entity: () => to,
  ...more,
});

const team = (...more) => entity('Team', 'teams', ...more);
const project = (...more) =>
  entity('Project', 'projects', reference('team', 'Team', { deleteRule: 'cascade' }), ...more);
const task = (...more) =>
  entity('Task', 'tasks', reference('project', 'Project', { deleteRule: 'cascade' }), ...more);

const VERSIONS = {
  create: [team(text('name')), project(text('name'), text('budget'), text('legacy')), task(text('title'))],
  'add-and-rename': [
    team(text('name'), text('plan', { nullable: false, default: 'free' })),
    project(text('name'), text('budget'), text('legacy')),
    task(text('subject')),
  ],
  'change-and-drop': [
    team(text('name'), text('plan', { nullable: false, default: 'free' })),
    project(text('name'), { name: 'budget', type: 'integer', default: 0 }),
    task(text('subject')),
  ],
  'foreign-key': [
    team(text('name'), text('plan', { nullable: false, default: 'free' })),
    project(text('name'), { name: 'budget', type: 'integer', default: 0 }),
    task(text('subject'), reference('owner', 'Person', { nullable: true, deleteRule: 'set null' })),
    entity('Person', 'people', text('email', { nullable: false })),
  ],
  // Of its own: with more behind a rebuild, its text is one that its driver refuses.
  rebuild: [
    team(text('name', { nullable: false }), text('plan', { nullable: false, default: 'free' })),
    project(text('name'), { name: 'budget', type: 'integer', default: 0 }),
    task(text('subject'), reference('owner', 'Person', { nullable: true, deleteRule: 'set null' })),
    entity('Person', 'people', text('email', { nullable: false })),
  ],
};

/** As it is by default it turns foreign keys off within a transaction, where SQLite ignores that: the children are deleted. */
const OUTSIDE_TRANSACTIONS = { transactional: false, allOrNothing: false };

export async function record({ load, file, folder, recording }) {
  const { MikroORM, EntitySchema } = load('@mikro-orm/better-sqlite');
  const { Migrator } = load('@mikro-orm/migrations');
  const path = join(folder, 'mikro-migrations');
  for (const [index, [name, entities]] of Object.entries(VERSIONS).entries()) {
    const orm = await MikroORM.init({
      dbName: file,
      entities: entities.map(({ properties, ...rest }) => {
        return new EntitySchema({
          ...rest,
          properties: Object.fromEntries(properties.map(one => [one.name, one])),
        });
      }),
      extensions: [Migrator],
      migrations: {
        ...OUTSIDE_TRANSACTIONS,
        path,
        emit: 'js',
        snapshot: false,
        fileName: () => `Migration${index}`,
      },
      logger: () => undefined,
    });
    const migrator = orm.getMigrator();
    await migrator.createMigration(path);
    await recording.step(name, () => migrator.up());
    await orm.close(true);
  }
}
