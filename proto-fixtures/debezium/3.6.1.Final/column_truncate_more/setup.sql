create extension citext; create type mood as enum ('very', 'ok'); create domain d_text as text;
create table t_cut (id text primary key, t text, t1 varchar(1), t2 varchar(2), t9 varchar(9) not null default 'default', c5 char(5), ci citext, m mood, nm text not null, by bytea, byn bytea not null, n numeric(8,3), nu numeric, b12 bit(12), d date, tz timestamptz, u uuid, j jsonb, i int, a text[], iv interval, dt d_text, big text, bigb bytea);
alter table t_cut alter big set storage external, alter bigb set storage external;
insert into t_cut values ('id-1', 'é€😀b', 'x', 'xy', 'long one', 'abc', 'CiText', 'very', 'nm', '\x010203', '\x0a0b0c', 12345.678, 1234.5, '101010101010', '2020-01-01', '2020-01-01 00:00+00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}', 12345, '{abc,def}', '1 day', 'domain', repeat('x', 9000), decode(repeat('ab', 9000), 'hex'));
insert into t_cut (id, nm, byn) values ('id-2', '', '');
