use std::time::Instant;

use cdc_agent::apply::merge::ColumnType as T;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::target;

/// Rows of the table before the first batch.
const ROWS: u64 = 1_000_000;

/// Not a test: rows/s and CPU-seconds for a million rows of `load`, by size of batch, 95 % updates of
/// random rows and 5 % inserts. `CDC_BENCH=1 CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --test duckdb
/// -- --nocapture bench`.
#[test]
fn bench_of_load_by_size_of_batch() {
    if std::env::var_os("CDC_BENCH").is_none() {
        return;
    }
    let mut file = File::new();
    let columns = [
        ("id", T::Int64),
        ("customer", T::Int32),
        ("name", T::Text),
        ("price", T::Decimal(12, 2)),
        ("paid", T::Boolean),
        ("day", T::Date),
        ("at", T::TimestampTz),
        ("note", T::Text),
        ("weight", T::Float64),
    ];
    let target = target(1, &columns, &[0]);
    let mut random = fastrand::Rng::with_seed(7);
    let mut lsn = 1;
    for step in 0..10 {
        let batch = if step == 0 {
            Batch::new().create(&target)
        } else {
            Batch::new().table(&target, vec![])
        };
        let ids = (0..ROWS / 10).map(|row| step * (ROWS / 10) + row).collect();
        file.load(&rows(batch, ids, lsn, &mut random)).unwrap();
    }
    let mut next = ROWS;
    for (size, batches) in [(500_u64, 60), (5_000, 30), (50_000, 10), (200_000, 3)] {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let mut building = (0.0, 0.0);
        for _ in 0..batches {
            lsn += 1;
            let (built, built_cpu) = (Instant::now(), cpu_seconds());
            let batch = Batch::new().table(&target, vec![]);
            let mut ids: Vec<u64> = (0..size * 95 / 100).map(|_| random.u64(..ROWS)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids.extend(next..next + size * 5 / 100);
            next += size * 5 / 100;
            let batch = rows(batch, ids, lsn, &mut random);
            building.0 += built.elapsed().as_secs_f64();
            building.1 += cpu_seconds() - built_cpu;
            file.load(&batch).unwrap();
        }
        let wall = began.elapsed().as_secs_f64() - building.0;
        let cpu = cpu_seconds() - cpu - building.1;
        let done = (size * batches) as f64;
        println!(
            "batches of {size}: {:.0} rows/s, {:.1} CPU-s per million, {:.1} ms a batch",
            done / wall,
            cpu / done * 1e6,
            wall / batches as f64 * 1e3
        );
    }
}

fn rows(mut batch: Batch, ids: Vec<u64>, lsn: u64, random: &mut fastrand::Rng) -> Batch {
    for id in ids {
        let (id, customer) = (id.to_string(), random.u32(..100_000).to_string());
        let name = format!("customer number {customer}");
        let price = format!("{}.{:02}", random.u32(..100_000), random.u32(..100));
        let note = format!("a note of some length, about {id} and {customer}, as people write");
        batch = batch.row(
            lsn,
            &[
                Some(&id),
                Some(&customer),
                Some(&name),
                Some(&price),
                Some("t"),
                Some("2026-11-21"),
                Some("2026-11-21 16:00:00.123456+00"),
                Some(&note),
                Some("12.25"),
            ],
        );
    }
    batch
}

/// Of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    (ticks[0] + ticks[1]) as f64 / 100.0
}
