insert into t values (101, '{a.b,NULL}');
