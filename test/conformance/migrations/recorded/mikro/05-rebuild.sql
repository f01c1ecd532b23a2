select name as table_name from sqlite_master where type = 'table' and name != 'sqlite_sequence' and name != 'geometry_columns' and name != 'spatial_ref_sys' union all select name as table_name from sqlite_temp_master where type = 'table' order by name;
select * from `mikro_orm_migrations` order by `id` asc;
pragma foreign_keys = off;
create table `teams__temp_alter` (`id` integer not null primary key autoincrement, `name` text not null, `plan` text not null default 'free');
insert into `teams__temp_alter` select `id`, `name`, `plan` from `teams`;
drop table `teams`;
alter table `teams__temp_alter` rename to `teams`;
pragma foreign_keys = on;
insert into `mikro_orm_migrations` (`name`) values ('Migration4');
