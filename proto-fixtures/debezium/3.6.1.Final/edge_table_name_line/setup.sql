create table "a
b" (id int primary key);
insert into "a
b" values (1);
