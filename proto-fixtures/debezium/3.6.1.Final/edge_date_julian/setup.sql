create table t (id int primary key, v date);
insert into t values (1, '1582-10-04'), (2, '1582-10-10'), (3, '1582-10-15');
