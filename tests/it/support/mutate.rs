//! Bad requests made of good ones: the same seed gives the same.

use fastrand::Rng;

use super::{
    bytes::{CLOSE_SESSION, DELETE_SUBSCRIPTIONS, READ, count, extension, id, tag, text},
    requests::Good,
};

const COUNTS: [u32; 14] = [0, 1, 2, 3, 16, 255, 256, 4_096, 65_535, 1 << 24, i32::MAX as u32, 1 << 31, u32::MAX - 1, u32::MAX];
const DOUBLES: [f64; 8] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MAX, f64::MIN_POSITIVE, 1e12];

/// The body of a message made from `good` ones, of which one is taken.
pub fn mutate(rng: &mut Rng, good: &[Good]) -> Good {
    let mut made = rng.choice(good).expect("there are good requests").clone();
    // Now and then as it is, so that there is something to break.
    for _ in 0..rng.u32(0..4) {
        step(rng, &mut made, good);
    }
    made.body.truncate(60_000);
    // What ends everything comes seldom, or there is nothing left to break.
    if matches!(made.kind, CLOSE_SESSION | DELETE_SUBSCRIPTIONS) && rng.u32(0..30) > 0 {
        made.kind = READ;
    }
    made
}

fn step(rng: &mut Rng, made: &mut Good, good: &[Good]) {
    let body = &mut made.body;
    let at = rng.usize(0..=body.len());
    match rng.u32(0..14) {
        0 => made.kind = rng.choice(good).map_or(0, |good| good.kind),
        1 => body.truncate(at),
        2 => overwrite(body, at, &[rng.u8(..)]),
        3 => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << rng.u32(0..8);
            }
        }
        4 | 5 => overwrite(body, at, &COUNTS[rng.usize(0..COUNTS.len())].to_le_bytes()),
        6 => overwrite(body, at, &DOUBLES[rng.usize(0..DOUBLES.len())].to_le_bytes()),
        // A small change of a number, which is often a length or a count.
        7 => {
            if let Some(byte) = body.get_mut(at) {
                *byte = byte.wrapping_add(if rng.bool() { 1 } else { 0xFF });
            }
        }
        8 | 9 => {
            let fragment = fragment(rng);
            insert(body, at, &fragment);
        }
        10 => {
            let end = rng.usize(at..=body.len().min(at + 64));
            body.drain(at..end);
        }
        11 => {
            let end = rng.usize(at..=body.len().min(at + 256));
            let span = body[at..end].repeat(rng.usize(1..20));
            insert(body, at, &span);
        }
        12 => {
            let other = &rng.choice(good).expect("there are good requests").body;
            let from = rng.usize(0..=other.len());
            body.truncate(at);
            body.extend_from_slice(&other[from..]);
        }
        _ => {
            let fragment = fragment(rng);
            overwrite(body, at, &fragment);
        }
    }
}

fn overwrite(body: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in body.iter_mut().skip(at).zip(with) {
        *place = *byte;
    }
}

fn insert(body: &mut Vec<u8>, at: usize, what: &[u8]) {
    body.splice(at..at, what.iter().copied());
}

/// Something that means something.
fn fragment(rng: &mut Rng) -> Vec<u8> {
    let nodes = [84, 85, 2_253, 2_255, 2_256, 2_258, 2_782, 2_915, 9_111, 3_875, 11_492, 12_912, 24_226, 22, 61];
    let tags = ["Plant/Line1/TankLevel", "Plant/Line1/TankLevel/Alarms/HighHigh", "Plant", "System/Gateway/Twilio", "x", ""];
    match rng.u32(0..9) {
        0 => id(nodes[rng.usize(0..nodes.len())]),
        1 => tag(tags[rng.usize(0..tags.len())]),
        2 => vec![rng.u8(0..26) | (rng.u8(0..4) << 6)],
        3 => [&[22][..], &extension(rng.u32(290..1_000), &vec![rng.u8(..); rng.usize(0..40)])].concat(),
        4 => [23_u8, 1].repeat(rng.usize(1..2_000)),
        5 => [&[25][..], &vec![0x40; rng.usize(1..4_000)]].concat(),
        6 => [0x98, 1, 0, 0, 0].repeat(rng.usize(1..1_000)),
        7 => text(&"%[^a-z]_\\".repeat(rng.usize(0..200))),
        _ => [count(rng.usize(0..5)), vec![rng.u8(..); rng.usize(0..64)]].concat(),
    }
}
