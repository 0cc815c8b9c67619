insert into a_1 values (1); insert into a_2 values (1); insert into ab values (1);
