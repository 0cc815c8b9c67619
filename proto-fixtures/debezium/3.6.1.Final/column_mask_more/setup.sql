create extension citext; create type mood as enum ('very', 'ok'); create domain d_vc as varchar(10);
create table t_star (id text primary key, t text, v9 varchar(9) not null default 'default', vd varchar(9) default 'other', c5 char(5), ci citext, m mood, mn mood not null, ch "char", u uuid, j jsonb, a text[], dv d_vc, tn text not null, big text);
create table t_hash (like t_star including all); create table t_old (like t_star including all);
alter table t_star alter big set storage external; alter table t_hash alter big set storage external; alter table t_old alter big set storage external;
insert into t_star values ('1', 'ünï😀', 'v', 'w', 'abc', 'Ci', 'very', 'ok', 'c', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{}', '{a}', 'dom', '', repeat('x', 9000)); insert into t_star (id, mn, tn) values ('2', 'ok', '');
insert into t_hash select * from t_star; insert into t_old select * from t_star;
