create table t (id int default 3 primary key, v text);
