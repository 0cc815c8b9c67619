-- What values mean, computed by the server alone.

CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION ltree SCHEMA public;
CREATE EXTENSION isn SCHEMA public;

CREATE TYPE public.mood AS ENUM ('sad', 'happy', 'it''s "complicated", {ä} \ 😀', ' ', 'NULL');
CREATE TYPE public.pair AS (a int, b text);
CREATE DOMAIN public.price AS numeric(10, 2);
CREATE DOMAIN public.cheap AS public.price;
CREATE DOMAIN public.numbers AS int[];

-- Base64 in one line, as a JSON string.
CREATE FUNCTION public.base64(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT to_json(replace(encode(bytes, 'base64'), E'\n', ''))::text $$;

-- The bits as one number, its bytes from the least significant to the last that is not zero.
CREATE FUNCTION public.little_endian(bits varbit) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$
    SELECT rtrim(coalesce(string_agg(decode(lpad(to_hex(lpad(
        substr(b, greatest(length(b) - 8 * i - 7, 1), least(8, length(b) - 8 * i)), 8, '0'
    )::bit(8)::int), 2, '0'), 'hex'), ''::bytea ORDER BY i), ''), '\x00')
    FROM (SELECT bits::text AS b) AS text, generate_series(0, (length(b) + 7) / 8 - 1) AS i
$$;

-- A date of ISO 8601: years before 1 AD as 0, -1, ..., a sign where four digits are not enough.
CREATE FUNCTION public.iso_date(d date) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT CASE WHEN y < 0 THEN '-' WHEN y > 9999 THEN '+' ELSE '' END
        || lpad(abs(y)::text, greatest(4, length(abs(y)::text)), '0')
        || '-' || lpad(extract(month FROM d)::text, 2, '0')
        || '-' || lpad(extract(day FROM d)::text, 2, '0')
    FROM (SELECT extract(year FROM d)::int + (extract(year FROM d) < 0)::int AS y) AS year
$$;

-- Microseconds since 1970. extract(epoch FROM t) is not exact near the end of time.
CREATE FUNCTION public.micros(t timestamp) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$
    SELECT (t::date - '1970-01-01'::date) * 86400000000::numeric
        + trunc(extract(epoch FROM t::time) * 1000000)
$$;

-- A number as JSON if it fits 64 bits, else NULL.
CREATE FUNCTION public.int64(n numeric) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT CASE WHEN n BETWEEN -9223372036854775808 AND 9223372036854775807
        THEN trunc(n)::text END
$$;

-- Microseconds of an interval whose months are 365.25 / 12 days, held within 64 bits.
CREATE FUNCTION public.average_micros(i interval) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT trunc(greatest(least(
        ((extract(year FROM i) * 12 + extract(month FROM i)) * 30.4375 + extract(day FROM i))
        * 86400000000 + extract(hour FROM i) * 3600000000 + extract(minute FROM i) * 60000000
        + extract(second FROM i) * 1000000,
        9223372036854775807), -9223372036854775808))::text
$$;

-- Every part of an interval, each with its sign.
CREATE FUNCTION public.iso_interval(i interval) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT 'P' || extract(year FROM i)::bigint || 'Y' || extract(month FROM i)::bigint || 'M'
        || extract(day FROM i)::bigint || 'DT' || extract(hour FROM i)::bigint || 'H'
        || extract(minute FROM i)::bigint || 'M' || trim_scale(extract(second FROM i)) || 'S'
$$;

-- The eight bytes of a float, the lowest first.
CREATE FUNCTION public.float_bytes(x float8) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$
    SELECT string_agg(substr(float8send(x), i, 1), ''::bytea ORDER BY i DESC)
    FROM generate_series(1, 8) AS i
$$;
