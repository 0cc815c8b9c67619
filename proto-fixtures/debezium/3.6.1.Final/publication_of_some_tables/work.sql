insert into a values (2, 'a', 2);
insert into b values (2, 'b', 2), (20, 'b', 20);
insert into c values (2, 'c');
insert into keyless values (2, 'n');
insert into u values (2);
update b set w = 0 where id > 5;
-- wait
alter publication several add table c;
-- wait
insert into c values (3, 'c');
