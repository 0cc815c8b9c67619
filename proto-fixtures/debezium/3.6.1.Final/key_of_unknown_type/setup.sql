create type pair as (a int, b text);
create table k (x int, id pg_lsn primary key);
create table c (x int, id pair primary key, y text default 'd');
create table m (x int, id pg_lsn, k text, primary key (id, k));
insert into k values (1, '0/1');
insert into c values (1, '(1,a)');
insert into m values (1, '0/1', 'k');
