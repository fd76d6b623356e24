//! What only the whole can show: tags in each other's way, references to tags that were left out, expressions in a circle.

use std::collections::{HashMap, HashSet};

use super::{
    Notes, Options,
    tag::{Draft, Origin, ours},
};

/// The drafts that can stand together, in their order.
pub(super) fn finish(drafts: Vec<Draft>, options: &Options, notes: &mut Notes) -> Vec<Draft> {
    let drafts = apart(drafts, notes);
    let drafts = without_circles(drafts, notes);
    let drafts = referring(drafts, notes);
    pipelines_named(drafts, options)
}

/// Each path once, and none below another.
fn apart(drafts: Vec<Draft>, notes: &mut Notes) -> Vec<Draft> {
    let mut taken: HashSet<String> = HashSet::with_capacity(drafts.len());
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if taken.insert(draft.path.clone()) {
            kept.push(draft);
        } else {
            notes.left_out(&draft.path, "a second tag of this path");
        }
    }
    kept.retain(|draft| {
        let mut folder = draft.path.rsplit_once('/').map(|(folder, _)| folder);
        while let Some(path) = folder {
            if taken.contains(path) {
                notes.left_out(&draft.path, format!("it lies below the tag {path}: a tag cannot be a folder"));
                return false;
            }
            folder = path.rsplit_once('/').map(|(folder, _)| folder);
        }
        true
    });
    kept
}

/// Takes tags and alarms out that read a tag which is not there, until none is left.
fn referring(mut drafts: Vec<Draft>, notes: &mut Notes) -> Vec<Draft> {
    loop {
        let there: HashSet<String> = drafts.iter().map(|draft| draft.path.clone()).collect();
        let before = drafts.len();
        drafts.retain(|draft| match missing(inputs(draft), &there) {
            Some(path) => {
                notes.left_out(&draft.path, format!("its expression reads {path}, which was left out"));
                false
            }
            None => true,
        });
        if drafts.len() < before {
            continue;
        }
        for draft in &mut drafts {
            let path = draft.path.clone();
            draft.alarms.retain(|alarm| match missing(&alarm.inputs, &there) {
                Some(input) => {
                    notes.left_out(&format!("{path}: alarm {}", alarm.name), format!("it reads {input}, which was left out"));
                    false
                }
                None => true,
            });
        }
        return drafts;
    }
}

fn missing<'i>(inputs: &'i [String], there: &HashSet<String>) -> Option<&'i String> {
    inputs.iter().find(|input| !there.contains(*input))
}

fn inputs(draft: &Draft) -> &[String] {
    match &draft.origin {
        Origin::Derived(formula) => &formula.inputs,
        _ => &[],
    }
}

/// Takes derived tags out whose inputs never end: those left when again and again all whose inputs are known were set aside.
fn without_circles(drafts: Vec<Draft>, notes: &mut Notes) -> Vec<Draft> {
    let index: HashMap<&str, usize> = drafts.iter().enumerate().map(|(index, draft)| (draft.path.as_str(), index)).collect();
    let mut waiting: Vec<usize> = Vec::with_capacity(drafts.len());
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (reader, draft) in drafts.iter().enumerate() {
        let known: Vec<usize> = inputs(draft).iter().filter_map(|input| index.get(input.as_str()).copied()).collect();
        waiting.push(known.len());
        for input in known {
            readers.entry(input).or_default().push(reader);
        }
    }
    let mut ready: Vec<usize> = (0..drafts.len()).filter(|&draft| waiting[draft] == 0).collect();
    while let Some(done) = ready.pop() {
        for &reader in readers.get(&done).into_iter().flatten() {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    let mut waiting = waiting.into_iter();
    let mut drafts = drafts;
    drafts.retain(|draft| {
        let free = waiting.next() == Some(0);
        if !free {
            notes.left_out(&draft.path, "its expression depends on itself");
        }
        free
    });
    drafts
}

/// Pipelines by our names.
fn pipelines_named(mut drafts: Vec<Draft>, options: &Options) -> Vec<Draft> {
    for draft in &mut drafts {
        for (_, name) in draft.alarms.iter_mut().flat_map(|alarm| &mut alarm.pipelines) {
            *name = match options.pipelines.get(name) {
                Some(mapped) => mapped.clone(),
                None => config_name(name),
            };
        }
        draft.path = ours(&draft.path, options);
    }
    drafts
}

/// A name as the configuration allows it, see `config::book`.
pub(super) fn config_name(text: &str) -> String {
    /// Bytes.
    const LONGEST: usize = 64;
    let clean = |c: char| if c.is_control() || matches!(c, '/' | '\\' | '?' | '#' | '%' | '"' | '{' | '}') { '-' } else { c };
    let mut name: String = text.chars().map(clean).collect();
    while name.len() > LONGEST {
        name.pop();
    }
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}
