create extension citext; create extension ltree;
create type mood as enum ('sad'); create domain ints as int[];
create table t (id int primary key, x int, s smallint[], o oid[], n inet[], c citext[], m mood[], l ltree[], d ints, r int4range[]);
alter table t alter column s set storage external, alter column o set storage external, alter column n set storage external, alter column c set storage external, alter column m set storage external, alter column l set storage external, alter column d set storage external, alter column r set storage external;
insert into t values (1, 1, array_fill(7::smallint, array[1200]), array_fill(7::oid, array[600]), array_fill('10.0.0.1'::inet, array[300]), array_fill('text'::citext, array[400]), array_fill('sad'::mood, array[600]), array_fill('text'::ltree, array[300]), array_fill(7, array[600]), array_fill('[1,2)'::int4range, array[300]));
