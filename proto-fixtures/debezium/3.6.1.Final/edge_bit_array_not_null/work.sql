insert into t values (1, '{1,0}', '{10101}', '{10101}');
delete from t;
