create table k (id int); insert into k values (1), (2);
