create table t (id int primary key, x int, i int[], b bigint[], s text[], y bytea[], h text);
alter table t alter column i set storage external, alter column b set storage external, alter column s set storage external, alter column y set storage external, alter column h set storage external;
