insert into t values (2, 'x', null, '', repeat('long ', 100), '😀');
update t set d = 'other' where id = 1;
