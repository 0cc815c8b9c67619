-- Rows to begin with; SCALE is the number of customers.

SELECT setseed(0.42);

INSERT INTO shop.customers (name, email, vip, balance, born, note, created_at)
SELECT 'Customer ' || n, 'c' || n || '@example.org', n % 10 = 0, (n * 37 % 100000) / 100.0,
       CASE WHEN n % 7 > 0 THEN date '1950-01-01' + (n * 13 % 20000)::int END,
       CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note ' || n || ' 😀' END,
       timestamptz '2020-01-01 00:00:00+00' + n * interval '1 hour 2.345678 seconds'
FROM generate_series(1, SCALE) AS n;

INSERT INTO shop.products (name, price, weight, tags, attributes, updated_at)
SELECT 'Product ' || n || ' Ärmel', (n * 91 % 100000) / 100.0, n / 7.0,
       ARRAY['a' || n % 3, 'b,c', NULL, ''], jsonb_build_object('size', n % 9, 'color', 'rød'),
       timestamp '2024-02-29 12:00:00' + n * interval '1.000001 seconds'
FROM generate_series(1, SCALE / 10 + 20) AS n;

INSERT INTO shop.orders (customer_id, status, total, placed_at, comment)
SELECT 1 + n % SCALE, (enum_range(NULL::shop.order_status))[1 + n % 5], (n * 17 % 1000000) / 100.0,
       timestamptz '2024-01-01 00:00:00+00' + n * interval '1 minute',
       CASE WHEN n % 3 = 0 THEN 'line' || chr(10) || 'break' || chr(9) || '"' || n END
FROM generate_series(1, SCALE * 2) AS n;

INSERT INTO shop.order_lines (order_id, line_no, product_id, quantity, price)
SELECT n, line, 1 + (n * 7 + line) % (SCALE / 10 + 20), 1 + n % 5, (n * line % 10000) / 100.0
FROM generate_series(1, SCALE * 2) AS n, generate_series(1, 3) AS line;

INSERT INTO shop.page_views (at, customer_id, path, took)
SELECT timestamp '2024-06-01 00:00:00' + n / 2 * interval '0.123 seconds', 1 + n / 2 % SCALE,
       '/products/' || n / 2 % 50, n / 2 / 3.0
FROM generate_series(1, SCALE * 2) AS n;

INSERT INTO shop.carts (id, customer_id, items)
SELECT md5('cart' || n)::uuid, n, jsonb_build_array(n, n * 2)
FROM generate_series(1, SCALE / 5 + 5) AS n;

INSERT INTO shop.documents (revision, title, body, image, meta, words)
SELECT 1, 'Document ' || n,
       (SELECT string_agg(md5(n || '.' || part), ' ') FROM generate_series(1, 100 + n % 400) AS part),
       decode(repeat(md5('image' || n), 100 + n % 100), 'hex'),
       jsonb_build_object('text', repeat('meta é ' || n, 500)),
       ARRAY(SELECT md5(n || 'word' || part) FROM generate_series(1, 100) AS part)
FROM generate_series(1, SCALE / 10 + 10) AS n;

-- Values at the edge of their types.
INSERT INTO shop.samples (flag, i2, i4, i8, f4, f8, n, n12, amount, d, t, t3, ts, ts3, tz, tz0, iv)
VALUES
    (true, 32767, 2147483647, 9223372036854775807, 'NaN', 'Infinity', 'NaN', 12345678.1234, 0,
     'infinity', '24:00', '23:59:59.999', 'infinity', '-infinity', 'infinity', '-infinity', '0'),
    (false, -32768, -2147483648, -9223372036854775808, '-Infinity', '-0', 1e20, -0.0001, -0.01,
     '0044-03-15 BC', '00:00', '00:00:00.001', '0044-03-15 12:00:00 BC', '1900-01-01 00:00:00.5',
     '4713-01-01 00:00:00+00 BC', '0001-01-01 00:00:00+00', '-1 year -2 mons +3 days -04:05:06.789'),
    (NULL, 0, 0, 0, 3.4028235e38, 5e-324, 0.000, 0, 9999999.99,
     '1969-12-31', '23:59:59.999999', '12:00', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999',
     '1969-12-31 23:59:59.999999+00', '2038-01-19 03:14:08+00', '178000000 years'),
    (true, 1, 1, 1, 0.1, 0.1, '123456789012345678901234567890.1234567890', 1.1, 1.1,
     '20000-01-01', '01:02:03.4', '01:02:03.4', '20000-02-29 00:00:00', '9999-12-31 23:59:59.999',
     '20000-01-01 00:00:00.5+00', '9999-12-31 23:59:59+00', '-00:00:00.000001');

INSERT INTO shop.samples (txt, vc, ch, u, mood, by, j, jb, ip, ints, texts, nums, days, moods)
VALUES
    ('', '', '', '00000000-0000-0000-0000-000000000000', 'sad', '', 'null', 'null', '::1', '{}', '{}',
     '{}', '{}', '{}'),
    (E'tab\tline\nreturn\r\u0001\u007f\u2028"\\/', 'Łódź 東京 😀', 'ab', md5('u')::uuid, 'happy, very',
     '\x00ff5c0a', '{"a": 1.0, "a": 2, "b" : [ ]}', '{"b": [1, 2.50], "a": "😀\n"}', '10.0.0.1/8',
     '{1,NULL,-2147483648}', ARRAY['a,b', NULL, 'NULL', '', '"', '\', '{}', ' ', 'é', E'\n'],
     '{1.50,NULL,-0.01}', '{2020-02-29,NULL,1969-12-31}', ARRAY['ok', 'happy, very', 'Zoë''s']::shop.mood[]),
    ('\N', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('NULL', '\', '     ', NULL, 'Zoë''s', '\xdeadbeef', '"text"', '[]', '192.168.0.0/16', '[0:1]={7,8}',
     '{NULL}', '{0}', NULL, NULL);

INSERT INTO shop.samples (i4, f8, n, n12, d, ts, tz, iv, txt, u, jb, ints)
SELECT n, n / 3.0, n / 4.0, n / 8.0, date '2000-01-01' + n, timestamp '2000-01-01' + n * interval '1.5 hours',
       timestamptz '2000-01-01 00:00:00+00' + n * interval '1 second', n * interval '1 mon 1.25 seconds',
       repeat('x', n % 50), md5('s' || n)::uuid, jsonb_build_object('n', n), ARRAY[n, n + 1]
FROM generate_series(1, SCALE / 10 + 20) AS n;
