create table r (id int, k int, primary key (id, k)) partition by range (k);
create table rd partition of r default;
create table r2 partition of r for values from (10) to (20) partition by list (id);
create table r2a partition of r2 default;
create table r2b partition of r2 for values in (11, 12);
create table r1 partition of r for values from (0) to (10);
insert into r select i, i from generate_series(1, 25) i;
