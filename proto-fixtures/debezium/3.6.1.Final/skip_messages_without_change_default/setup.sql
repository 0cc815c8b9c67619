create type mood as enum ('sad', 'ok');
create table d (id int primary key, m mood default 'ok', t text default 'x', n numeric(8,2) default 1.5, s text default 's', c varchar(20) default 'abcdef', h text default 'h', b bytea default '\x01');
alter table d replica identity full;
insert into d (id) values (1), (2), (3), (4), (5), (6), (7);
