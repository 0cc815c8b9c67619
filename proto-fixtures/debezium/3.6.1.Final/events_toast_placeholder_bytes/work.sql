insert into t values (1, 1, array_fill(7, array[600]), array_fill(7::bigint, array[300]), array_fill('text'::text, array[400]), array_fill('\x01'::bytea, array[400]), repeat('h', 2500));
update t set x = 2;
