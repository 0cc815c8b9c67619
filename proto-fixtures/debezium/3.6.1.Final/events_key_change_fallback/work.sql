insert into t values ('a', 1, 0); update t set k = 'b'; update t set c = 1; update t set k = 'c'; delete from t; insert into f values (1.5); update f set id = 1.50; update f set id = 2;
