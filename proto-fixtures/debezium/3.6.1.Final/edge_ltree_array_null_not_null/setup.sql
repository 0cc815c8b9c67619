create extension ltree;
create table t (id int primary key, v ltree[] not null);
