insert into t_prop (vc) values ('b');
