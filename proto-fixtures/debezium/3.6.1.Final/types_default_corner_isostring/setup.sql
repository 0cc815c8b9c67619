create table t (id int primary key,
  d1 date default 'infinity', d2 date default '-infinity', d3 date default '0044-03-15 BC',
  s1 timestamp default 'infinity', s2 timestamp default '-infinity', s3 timestamp(3) default 'infinity',
  s4 timestamp default '294276-12-31 23:59:59.999999', s5 timestamp default '0044-03-15 10:00 BC',
  z1 timestamptz default 'infinity', z2 timestamptz default '-infinity', z3 timestamptz default '0044-03-15 10:00:00+00 BC',
  t1 time default '24:00', t2 time(3) default '24:00',
  n1 numeric default 'NaN', n2 numeric(6,2) default 'NaN', n3 numeric default 'Infinity', n4 numeric default '1e-30',
  b1 bit(8) default 5::bit(8), b2 bit(8) default 1::bit(8), b3 varbit(8) default (B'101' || B'1'), b4 bit(1) default 1::bit(1),
  f1 real default '-Infinity', f2 double precision default 'NaN', f3 real default '1e-40');
