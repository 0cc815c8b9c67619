create table z (id int primary key); create table a (id int primary key); create table m (id int primary key); create table "Odd.name" (id int);
insert into z values (1), (2); insert into m values (1), (2), (3); insert into "Odd.name" values (1);
