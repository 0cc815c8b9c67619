insert into "a
b" values (101);
