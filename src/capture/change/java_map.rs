//! The order in which Java's hash maps give what was put into them, which readers of Debezium's
//! records see.
//!
//! Source: Java Platform SE 17, `java.util.HashMap` and `java.lang.String.hashCode`.

/// Buckets of a map that was made empty.
pub(super) const LEAST_BUCKETS: usize = 16;

/// Buckets after so many entries were put into a map that had these.
pub(super) fn grown(mut buckets: usize, entries: usize) -> usize {
    while entries * 4 > buckets * 3 {
        buckets *= 2;
    }
    buckets
}

/// Buckets of a map that was made of another with so many entries.
pub(super) fn copied(entries: usize) -> usize {
    match entries {
        0 => LEAST_BUCKETS,
        _ => (entries * 4 / 3 + 1).next_power_of_two(),
    }
}

/// Entries in the order of a map with so many buckets, a power of two, into which they were put in
/// this order under these names.
pub(super) fn in_order<T>(
    mut entries: Vec<T>,
    buckets: usize,
    name: impl Fn(&T) -> &str,
) -> Vec<T> {
    entries.sort_by_key(|entry| bucket(name(entry), buckets));
    entries
}

fn bucket(name: &str, buckets: usize) -> usize {
    let hash = name
        .encode_utf16()
        .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    usize::try_from(hash ^ hash >> 16).unwrap_or_default() & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_of_a_java_map() {
        // The output of Java 17 for a HashMap into which these were put.
        let names = vec!["public.t2", "public.pk1", "s1.a", "s2.a", "public.orders"];
        assert_eq!(
            in_order(names, LEAST_BUCKETS, |name| name),
            ["public.pk1", "s1.a", "public.orders", "s2.a", "public.t2"]
        );
    }

    #[test]
    fn a_map_grows_above_three_quarters() {
        assert_eq!(grown(LEAST_BUCKETS, 12), 16);
        assert_eq!(grown(LEAST_BUCKETS, 13), 32);
        assert_eq!([0, 1, 3, 5, 12].map(copied), [16, 2, 8, 8, 32]);
    }
}
