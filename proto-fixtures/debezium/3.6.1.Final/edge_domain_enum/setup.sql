create type mood as enum ('a', 'b'); create domain d_mood as mood;
create table t (id int primary key, m d_mood, dm d_mood not null default 'b');
insert into t values (1, 'a', 'a'); insert into t (id) values (2);
