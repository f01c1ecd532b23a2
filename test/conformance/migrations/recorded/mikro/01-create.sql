select name as table_name from sqlite_master where type = 'table' and name != 'sqlite_sequence' and name != 'geometry_columns' and name != 'spatial_ref_sys' union all select name as table_name from sqlite_temp_master where type = 'table' order by name;
create table `mikro_orm_migrations` (`id` integer not null primary key autoincrement, `name` varchar(255), `executed_at` datetime default CURRENT_TIMESTAMP);
select * from `mikro_orm_migrations` order by `id` asc;
create table `teams` (`id` integer not null primary key autoincrement, `name` text null);
create table `projects` (`id` integer not null primary key autoincrement, `team_id` integer not null, `name` text null, `budget` text null, `legacy` text null, constraint `projects_team_id_foreign` foreign key(`team_id`) references `teams`(`id`) on delete cascade on update cascade);
create index `projects_team_id_index` on `projects` (`team_id`);
create table `tasks` (`id` integer not null primary key autoincrement, `project_id` integer not null, `title` text null, constraint `tasks_project_id_foreign` foreign key(`project_id`) references `projects`(`id`) on delete cascade on update cascade);
create index `tasks_project_id_index` on `tasks` (`project_id`);
insert into `mikro_orm_migrations` (`name`) values ('Migration0');
