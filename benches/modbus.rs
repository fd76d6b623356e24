//! What decoding one answer of a Modbus device costs. `cargo bench --bench modbus`

use std::{fmt::Write as _, sync::Arc};

use annunciator::{
    config::{File, Loader, load},
    engine::plan::Origin,
    source::{
        SourceTag,
        modbus::{
            DRIVER,
            address::Point,
            decode::{Payload, samples},
            plan::{Limits, plan},
        },
    },
    tag::{Names, Timestamp},
};
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

/// Tags whose addresses are `table:` and every `step`th number, as the configuration gives them.
fn tags(count: usize, kind: &str, table: &str, step: usize, format: &str) -> Vec<(SourceTag, Point)> {
    let mut text = String::new();
    for number in 0..count {
        let address = number * step;
        write!(
            text,
            "[[tag]]\npath = \"T/{number}\"\ntype = \"{kind}\"\nsource = \"plc\"\naddress = \"{table}:{address}\"\n{format}\n"
        )
        .expect("a String takes all text");
    }
    let config = "[[source]]\nname = \"plc\"\nkind = \"modbus\"\nurl = \"tcp://192.0.2.1:502\"\n".to_owned();
    let file = |name: &str, text: String| [File { name: name.to_owned(), text }];
    let loader = Loader { env: &|_| None, read_file: &|_| Err("no file".to_owned()) };
    let loaded = load(&file("config", config), &file("tags", text), &[DRIVER], loader, &mut Names::default());
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:?}"));
    let tags = loaded.plan.tags.iter().filter_map(|def| match &def.origin {
        Origin::Source { address, .. } => {
            address.downcast_ref::<Point>().copied().map(|point| (SourceTag::new(def, Arc::clone(address)), point))
        }
        _ => None,
    });
    tags.collect()
}

fn decode(bencher: Bencher, tags: &[(SourceTag, Point)], payload: Payload<'_>) {
    let points: Vec<Point> = tags.iter().map(|(_, point)| *point).collect();
    let blocks = plan(&points, Limits { max_gap: 16, max_registers: 125, max_bits: 2000 });
    assert_eq!((blocks.len(), blocks[0].tags.len()), (1, tags.len()));
    let tag = |index: u32| {
        let (tag, point) = &tags[index as usize];
        (tag, point)
    };
    bencher
        .counter(ItemsCount::new(tags.len()))
        .bench_local(|| samples(black_box(&blocks[0]), tag, black_box(payload), Timestamp::from_ticks(1)));
}

#[divan::bench]
fn bits_2000(bencher: Bencher) {
    decode(bencher, &tags(2000, "Boolean", "coil", 1, ""), Payload::Bits(&[true; 2000]));
}

#[divan::bench]
fn words_125(bencher: Bencher) {
    decode(bencher, &tags(125, "UInt16", "holding", 1, "format = \"u16\""), Payload::Registers(&[7; 125]));
}

#[divan::bench]
fn swapped_floats_62(bencher: Bencher) {
    let format = "format = \"f32:cdab\"\nscale = { raw = [0, 27648], eu = [0.0, 100.0], clamp = true }";
    decode(bencher, &tags(62, "Float", "holding", 2, format), Payload::Registers(&[0x4200; 125]));
}
