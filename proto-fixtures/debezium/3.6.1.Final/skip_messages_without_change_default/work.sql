update d set m = null where id = 1; update d set m = 'ok' where id = 1;
update d set t = null where id = 2; update d set n = null where id = 3; update d set n = 1.50 where id = 3;
update d set s = null where id = 4; update d set c = 'abcxyz' where id = 5; update d set c = null where id = 5;
update d set h = null where id = 6; update d set b = null where id = 7; update d set b = '\x01' where id = 7;
update d set t = t where id = 2; update d set m = m, n = n where id = 3;
