create table t (id numeric(20,10) primary key, a numeric(12,7) not null, b numeric(12,7) default 0, c numeric(30,0), d numeric(12,9)[], m money default 1.5, e numeric(8,3) default 1.5);
insert into t values (1, 0, 0, 1e25, '{0,0.000000001,1}'), (0, 0.0000001, 0.0000012, 0, null);
