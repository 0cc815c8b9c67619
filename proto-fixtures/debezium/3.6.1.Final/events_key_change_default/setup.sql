create table u (a int default 5, v text);
create unique index on u (a);
alter table u replica identity full;
insert into u values (1, 'one'), (null, 'none');
