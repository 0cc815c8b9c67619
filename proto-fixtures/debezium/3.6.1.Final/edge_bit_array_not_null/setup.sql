create table t (id int primary key, o bit(1)[] not null, b bit(5)[] not null, n bit(5)[]);
