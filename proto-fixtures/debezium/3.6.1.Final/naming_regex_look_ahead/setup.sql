create table a_1 (id int primary key); create table a_2 (id int primary key); create table ab (id int primary key);
