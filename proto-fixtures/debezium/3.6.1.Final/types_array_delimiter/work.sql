insert into t values (101, '{x,NULL," "}', '{(3,4),(1,2);(5,6),(1,2)}', '{y}');
delete from t where id = 1;
