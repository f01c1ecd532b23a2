select name as table_name from sqlite_master where type = 'table' and name != 'sqlite_sequence' and name != 'geometry_columns' and name != 'spatial_ref_sys' union all select name as table_name from sqlite_temp_master where type = 'table' order by name;
select * from `mikro_orm_migrations` order by `id` asc;
create table `people` (`id` integer not null primary key autoincrement, `email` text not null);
alter table `tasks` add column `owner_id` integer null constraint `tasks_owner_id_foreign` references `people` (`id`) on update cascade on delete set null;
create index `tasks_owner_id_index` on `tasks` (`owner_id`);
insert into `mikro_orm_migrations` (`name`) values ('Migration3');
