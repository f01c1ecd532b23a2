select name as table_name from sqlite_master where type = 'table' and name != 'sqlite_sequence' and name != 'geometry_columns' and name != 'spatial_ref_sys' union all select name as table_name from sqlite_temp_master where type = 'table' order by name;
select * from `mikro_orm_migrations` order by `id` asc;
alter table `teams` add column `plan` text not null default 'free';
alter table `tasks` rename column `title` to `subject`;
insert into `mikro_orm_migrations` (`name`) values ('Migration1');
