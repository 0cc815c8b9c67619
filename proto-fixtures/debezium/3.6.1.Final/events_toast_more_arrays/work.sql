update t set x = 2;
