insert into z values (3);
