insert into a values (2);
-- wait
alter publication dbz_publication add table a;
-- wait
insert into a values (3);
