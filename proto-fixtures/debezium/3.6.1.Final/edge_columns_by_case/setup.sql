create table t (id int primary key, v text, "V" text);
insert into t values (1, 'v', 'V');
