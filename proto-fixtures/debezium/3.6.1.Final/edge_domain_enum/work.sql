insert into t values (101, 'a', 'a'); insert into t (id) values (102); delete from t where id = 101;
