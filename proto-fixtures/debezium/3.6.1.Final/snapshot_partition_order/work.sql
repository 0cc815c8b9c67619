insert into r values (30, 3);
update r set k = 13 where id = 30;
