create table t (id int primary key, a text, b text, c varchar(20), d text, e text);
insert into t values (1, 'é', 'b', 'c', 'd', 'e');
