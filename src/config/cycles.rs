//! Derived tags that depend on each other.

use std::collections::HashMap;

use super::{
    book::Book,
    problems::{Place, Problem, Problems, Severity},
};
use crate::tag::TagId;

/// Where the expressions of derived tags stand, and what they read.
pub(super) type Derived = HashMap<TagId, (Place, Vec<TagId>)>;

/// Longer cycles are cut when they are shown.
const SHOWN: usize = 8;

/// Notes every cycle.
pub(super) fn note(derived: &Derived, book: &Book, problems: &mut Problems) {
    let path = |tag: &TagId| book.tag_by_id(*tag).map_or("", |tag| &*tag.path);
    for (place, cycle) in cycles(derived) {
        let mut names: Vec<_> = cycle.iter().take(SHOWN).map(path).collect();
        if cycle.len() > SHOWN {
            names.push("…");
        }
        names.extend(names.first().copied());
        let second = cycle.get(1).and_then(|tag| book.tag_by_id(*tag));
        problems.push(Problem {
            severity: Severity::Error,
            place: Some(place),
            message: format!("derived tags depend on each other: {}", names.join(" → ")),
            help: "take one of them out of the circle".into(),
            second: second.map(|tag| (tag.place.clone(), "also in the circle".to_owned())),
        });
    }
}

/// The first cycle among derived tags that each tag is on, as a list of ids; each cycle once.
fn cycles(derived: &Derived) -> Vec<(Place, Vec<TagId>)> {
    let mut done: HashMap<TagId, bool> = HashMap::new();
    let mut cycles = Vec::new();
    let mut starts: Vec<_> = derived.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        if done.contains_key(&start) {
            continue;
        }
        // A walk of its own, not recursion: chains may be as long as there are tags. `done` is false while on the way.
        done.insert(start, false);
        let mut way: Vec<(TagId, usize)> = vec![(start, 0)];
        while let Some((tag, next)) = way.last_mut() {
            let inputs = derived.get(tag).map_or(&[][..], |(_, inputs)| inputs);
            let Some(input) = inputs.get(*next).copied() else {
                done.insert(*tag, true);
                way.pop();
                continue;
            };
            *next += 1;
            if !derived.contains_key(&input) {
                continue;
            }
            match done.get(&input) {
                None => {
                    done.insert(input, false);
                    way.push((input, 0));
                }
                Some(false) => {
                    let from = way.iter().position(|(tag, _)| *tag == input).unwrap_or(0);
                    let cycle = way[from..].iter().map(|(tag, _)| *tag).collect();
                    cycles.push((derived[&input].0.clone(), cycle));
                }
                Some(true) => {}
            }
        }
    }
    cycles
}
