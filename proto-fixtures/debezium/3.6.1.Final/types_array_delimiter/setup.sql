create table t (id int primary key, ch "char"[], bx box[], cn "char"[] not null);
insert into t values (1, '{x,NULL," "}', '{(3,4),(1,2);(5,6),(1,2)}', '{y}');
