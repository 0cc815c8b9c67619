insert into t values (101, 'v', 'V');
