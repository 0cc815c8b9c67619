use std::collections::BTreeMap;

use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::warehouse::DeleteMode;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::MISSING;
use crate::plans::target;

/// A key's last change: its position, its row if it has one, and which of its values are unknown.
#[derive(Clone, Debug, Default)]
struct Known {
    lsn: u64,
    row: Option<[Option<String>; 2]>,
    unknown: [bool; 2],
}

/// Random batches, newer and older ones, against a map.
#[test]
fn random_plans_give_what_the_model_says() {
    let seed: u64 =
        std::env::var("SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    for mode in [DeleteMode::Hard, DeleteMode::Soft] {
        run(&mut fastrand::Rng::with_seed(seed), mode);
    }
}

fn run(random: &mut fastrand::Rng, mode: DeleteMode) {
    let mut file = File::with(|settings| settings.delete_mode = mode);
    let target = target(1, &[("id", T::Int32), ("a", T::Text), ("b", T::Decimal(6, 2))], &[0]);
    let mut model: BTreeMap<u32, Known> = BTreeMap::new();
    let mut floor = 0;
    file.load(&Batch::new().create(&target)).unwrap();
    for round in 0..60 {
        let mut batch = Batch::new().table(&target, vec![]);
        if random.u32(..10) == 0 {
            let lsn = random.u64(..40 * (round + 1));
            floor = floor.max(lsn);
            batch = batch.floor(lsn);
            // In the order of positions: what is below is gone, and stays away.
            for known in model.values_mut().filter(|known| known.lsn < lsn) {
                *known = Known { lsn, ..Known::default() };
            }
        }
        let mut ids: Vec<u32> = (0..30).collect();
        random.shuffle(&mut ids);
        for id in &ids[..random.usize(..20)] {
            let lsn = random.u64(1..40 * (round + 1));
            let (is_read, is_delete, is_fresh) =
                (random.u32(..4) == 0, random.u32(..4) == 0, random.bool());
            let values = [value(random, "a"), value(random, "b")];
            let id_text = id.to_string();
            batch =
                batch.row(lsn, &[Some(&id_text), text(&values[0]), text(&values[1])]).but(|row| {
                    (row.is_read, row.is_delete, row.is_fresh) = (is_read, is_delete, is_fresh)
                });
            let known = model.entry(*id).or_default();
            let wins = lsn > known.lsn || (is_read && lsn == known.lsn);
            if !wins || lsn <= floor {
                continue;
            }
            if is_delete {
                *known = Known { lsn, ..Known::default() };
                continue;
            }
            let old = known.row.take().filter(|_| !is_fresh);
            let mut row = [None, None];
            for at in 0..2 {
                (row[at], known.unknown[at]) = match (&values[at], &old) {
                    (Some(value), _) => (value.clone(), false),
                    (None, Some(old)) => (old[at].clone(), known.unknown[at]),
                    (None, None) => (None, true),
                };
            }
            (known.lsn, known.row) = (lsn, Some(row));
        }
        file.load(&batch).unwrap();
        compare(&mut file, &target, &model, round);
    }
}

/// `None`: missing.
fn value(random: &mut fastrand::Rng, kind: &str) -> Option<Option<String>> {
    match random.u32(..5) {
        0 => None,
        1 => Some(None),
        _ if kind == "a" => Some(Some(format!("text {}", random.u32(..1000)))),
        _ => Some(Some(format!("{}.{:02}", random.u32(..9999), random.u32(..100)))),
    }
}

fn text(value: &Option<Option<String>>) -> Option<&str> {
    match value {
        None => MISSING,
        Some(value) => value.as_deref(),
    }
}

fn compare(
    file: &mut File,
    target: &cdc_agent::apply::merge::Target,
    model: &BTreeMap<u32, Known>,
    round: u64,
) {
    let ids: Vec<String> = model.keys().map(u32::to_string).collect();
    let keys: Vec<[&str; 1]> = ids.iter().map(|id| [id.as_str()]).collect();
    let keys: Vec<&[&str]> = keys.iter().map(|key| key.as_slice()).collect();
    let found = file.rows(target, &keys);
    for ((id, known), found) in model.iter().zip(found) {
        let expected = known.row.as_ref().map(|row| {
            let cell =
                |at: usize| if known.unknown[at] { Some("?".to_owned()) } else { row[at].clone() };
            vec![Some(id.to_string()), cell(0), cell(1)]
        });
        assert_eq!(found.and_then(|(_, cells)| cells), expected, "row {id} after batch {round}");
    }
    let rows = model.values().filter(|known| known.row.is_some()).count();
    let live = match file
        .ask("SELECT count(*) FROM duckdb_columns() WHERE column_name = '_cdc_deleted'")
        .as_str()
    {
        "[[0]]" => "SELECT count(*) FROM shop.t1",
        _ => "SELECT count(*) FROM shop.t1 WHERE NOT _cdc_deleted",
    };
    assert_eq!(file.ask(live), format!("[[{rows}]]"), "after batch {round}");
}
