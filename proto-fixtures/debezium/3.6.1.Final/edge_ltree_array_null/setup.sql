create extension ltree;
create table t (id int primary key, v ltree[]);
insert into t values (1, '{a.b,NULL}');
