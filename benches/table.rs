//! What the tag table costs for each tag. `cargo bench --bench table`

use annunciator::tag::{Sample, StatusCode, TagId, TagTable, Timestamp, Value};
use divan::{Bencher, black_box, counter::ItemsCount};

const TAGS: u32 = 100_000;

fn main() {
    divan::main();
}

fn samples(count: u32, round: i64, value: &dyn Fn(i64) -> Value) -> Vec<Sample> {
    let sample = |tag| Sample {
        tag: TagId(tag),
        value: value(round + i64::from(tag)),
        status: StatusCode::GOOD,
        source_time: Timestamp::from_ticks(round),
    };
    (0..count).map(sample).collect()
}

fn write(bencher: Bencher, batch: u32, value: &dyn Fn(i64) -> Value) {
    let table = TagTable::default();
    let mut round = 0;
    let rounds = [samples(batch, 1, value), samples(batch, 2, value)];
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        round += 1;
        table.write(black_box(&rounds[round % 2]))
    });
}

#[divan::bench(args = [1, 100, TAGS])]
fn write_doubles(bencher: Bencher, batch: u32) {
    #[allow(clippy::cast_precision_loss)]
    write(bencher, batch, &|number| Value::Double(number as f64));
}

#[divan::bench(args = [100])]
fn write_texts(bencher: Bencher, batch: u32) {
    write(bencher, batch, &|number| Value::string(number.to_string()));
}

#[divan::bench(args = [100, TAGS])]
fn write_unchanged(bencher: Bencher, batch: u32) {
    let table = TagTable::default();
    let same = samples(batch, 1, &Value::Int64);
    table.write(&same);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| table.write(black_box(&same)));
}

#[divan::bench(args = [100, TAGS])]
fn read(bencher: Bencher, batch: u32) {
    let table = TagTable::default();
    table.write(&samples(batch, 1, &Value::Int64));
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        for tag in 0..batch {
            black_box(table.read(TagId(tag)));
        }
    });
}

/// As a subscription looks for what changed: by block, then by tag.
#[divan::bench(args = [TAGS])]
fn scan_blocks(bencher: Bencher, tags: u32) {
    let table = TagTable::default();
    table.write(&samples(tags, 1, &Value::Int64));
    bencher
        .counter(ItemsCount::new(tags))
        .bench_local(|| (0..tags).step_by(64).map(|tag| table.block_version(TagId(tag))).sum::<u64>());
}

#[divan::bench(args = [TAGS])]
fn scan_versions(bencher: Bencher, tags: u32) {
    let table = TagTable::default();
    table.write(&samples(tags, 1, &Value::Int64));
    bencher.counter(ItemsCount::new(tags)).bench_local(|| (0..tags).map(|tag| table.version(TagId(tag))).sum::<u64>());
}
