update u set a = 5 where v = 'none'; update u set a = null where v = 'none'; update u set v = 'other' where a is null; delete from u where a is null;
