create table t (k text, id int, c int not null, n numeric, primary key (k, id)); create table f (id numeric primary key, v text); alter table f replica identity full;
