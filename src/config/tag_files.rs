//! The tag files, a few megabytes at a time: while a million tags are read, little more is held than what stays of them.
//!
//! The first pass reads every text once, on all processors, in parts of one tag each; a tag that refers to no other is done then. Of
//! a tag with an expression or alarms the text is kept until all tags are known, and the second pass reads the rest of it.
//! The order of what comes out is that of the files, however many processors there are.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use toml::de::DeTable;

use super::{
    alarms,
    book::{Book, TagEntry},
    cycles::Derived,
    devices::Device,
    problems::{Place, Problem, Problems, Severity},
    reader::{Context, Loader, Section, parse, parse_part},
    system::Own,
    tags::{self, Around, Body, Common, Head},
};
use crate::{
    engine::plan::{AlarmDef, Origin, TagDef, TagTraits},
    tag::{DataType, TagId, TagPath, ValueType},
};

/// So many bytes of text are read before what they say is entered.
const WAVE: usize = 4 << 20;
/// A thread takes so many bytes at a time.
const PIECE: usize = 64 << 10;
/// More threads than this only wait for the one that enters.
const MOST_THREADS: usize = 8;
/// How nearly all tags begin.
const HEADER: &str = "[[tag]]";

/// Files whose texts are read when they are needed, and not kept.
pub struct Texts<'f> {
    /// Their names, as problems shall show them.
    pub names: Vec<String>,
    /// Reads the file at a position; the error is a fragment that names it.
    pub read: &'f dyn Fn(usize) -> Result<String, String>,
}

/// What both passes work with.
#[derive(Clone, Copy)]
pub(super) struct Room<'a> {
    pub loader: Loader<'a>,
    pub problems: &'a RefCell<Problems>,
    /// The number of the first tag file among all files.
    pub first: usize,
}

/// The tags after the first pass, by position as in the book. In the place of those that are wrong and of those to be read later
/// stands one of no use.
#[derive(Default)]
pub(super) struct Defined {
    tags: Vec<TagDef>,
    later: Vec<Later>,
}

/// A text with tags that the second pass reads.
struct Later {
    file: usize,
    begin: usize,
    text: String,
    /// Which of its tags, and their positions.
    tags: Vec<(usize, usize)>,
}

/// What came of the second pass.
#[derive(Default)]
pub(super) struct Read {
    pub tags: Vec<TagDef>,
    pub alarms: Vec<Arc<AlarmDef>>,
    pub derived: Derived,
}

/// What a thread has read.
#[derive(Default)]
struct Piece {
    tags: Vec<(Head, Rest)>,
    /// The texts that [`Rest::Later`] counts.
    later: Vec<(usize, String)>,
    problems: Problems,
}

enum Rest {
    Known(Body),
    /// What is wrong was noted.
    Wrong,
    /// The text, and which of its tags.
    Later(usize, usize),
}

/// The first pass: all tags are in the book, and those that refer to no other are read.
///
/// # Errors
/// All files that cannot be read.
pub(super) fn define(
    texts: &Texts<'_>,
    book: &mut Book,
    devices: &BTreeMap<String, Device>,
    own: &mut Own<'_>,
    room: Room<'_>,
) -> Result<Defined, Vec<String>> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    let mut common: Vec<Common> = (0..threads).map(|_| Common::default()).collect();
    let mut defined = Defined::default();
    let mut failures = Vec::new();
    let mut files = 0..texts.names.len();
    while !files.is_empty() {
        let mut wave = Vec::new();
        let mut size = 0;
        for file in files.by_ref() {
            match (texts.read)(file) {
                Ok(text) => {
                    size += text.len();
                    wave.push((room.first + file, text));
                }
                Err(reason) => failures.push(reason),
            }
            if size >= WAVE {
                break;
            }
        }
        let around = Around { book, devices };
        for (file, read) in read_wave(&wave, around, room.loader, &mut common) {
            enter(file, read, &mut defined, book, own, room);
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    below_others(book, room);
    Ok(defined)
}

/// Reads texts on all threads; the pieces as they come in the files.
fn read_wave(wave: &[(usize, String)], around: Around<'_>, loader: Loader<'_>, common: &mut [Common]) -> Vec<(usize, Piece)> {
    let work: Vec<(usize, Range<usize>)> =
        (0..).zip(wave).flat_map(|(text, (_, content))| pieces(content).map(move |range| (text, range))).collect();
    let next = AtomicUsize::new(0);
    let read = &|common: &mut Common| {
        let mut done = Vec::new();
        while let Some((text, range)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (file, content) = &wave[*text];
            done.push((*text, range.start, read_piece(&content[range.clone()], (*file, range.start), around, loader, common)));
        }
        done
    };
    let (first, others) = common.split_first_mut().expect("one for each thread");
    let helpers = others.len().min(work.len().saturating_sub(1));
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = others[..helpers].iter_mut().map(|common| scope.spawn(move || read(common))).collect();
        let mut done = read(first);
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(text, begin, _)| (*text, *begin));
    // What only a whole file shows is looked for in the whole file.
    let broken: HashSet<usize> = done.iter().filter(|(.., piece)| piece.is_none()).map(|(text, ..)| *text).collect();
    let good = done.into_iter().filter(|(text, ..)| !broken.contains(text));
    let mut all: Vec<_> = good.filter_map(|(text, _, piece)| Some((text, piece?))).collect();
    all.extend(broken.iter().map(|text| (*text, read_whole(&wave[*text], around, loader, first))));
    all.sort_by_key(|(text, _)| *text);
    all.into_iter().map(|(text, piece)| (wave[text].0, piece)).collect()
}

/// Where a text can be divided among threads.
fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let rest = text.get(begin..).filter(|rest| !rest.is_empty())?;
        let far = rest.ceil_char_boundary(PIECE);
        let end = rest[far..].find("\n[[tag]]").map_or(text.len(), |header| begin + far + header + 1);
        Some(std::mem::replace(&mut begin, end)..end)
    })
}

/// The parts of a text, each from one header to the next.
fn parts(text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_header = |at: &usize| text[..*at].rsplit('\n').next().is_some_and(|before| before.trim_start().is_empty());
    let headers = text.match_indices(HEADER).map(|(at, _)| at).filter(is_header).filter(|at| *at > 0);
    let mut begin = 0;
    headers.chain([text.len()]).map(move |end| std::mem::replace(&mut begin, end)..end)
}

/// `None` when the text cannot be understood in parts.
fn read_piece(
    text: &str,
    (file, begin): (usize, usize),
    around: Around<'_>,
    loader: Loader<'_>,
    common: &mut Common,
) -> Option<Piece> {
    // What looks like a header may be a line of a text.
    if text.contains("\"\"\"") || text.contains("'''") {
        return None;
    }
    let mut piece = Piece::default();
    let problems = RefCell::default();
    for range in parts(text) {
        let context = Context { loader, problems: &problems, file, begin: begin + range.start };
        let part = &text[range];
        piece.read(part, &parse_part(part)?, context, around, common);
    }
    piece.problems = problems.into_inner();
    Some(piece)
}

/// Reads a file that cannot be divided; what could be understood of it.
fn read_whole((file, text): &(usize, String), around: Around<'_>, loader: Loader<'_>, common: &mut Common) -> Piece {
    let mut piece = Piece::default();
    let problems = RefCell::default();
    let context = Context { loader, problems: &problems, file: *file, begin: 0 };
    piece.read(text, &parse(text, context), context, around, common);
    piece.problems = problems.into_inner();
    piece
}

impl Piece {
    fn read<'t>(&mut self, text: &'t str, table: &'t DeTable<'t>, context: Context<'t>, around: Around<'_>, common: &mut Common) {
        let mut root = Section::new(context, table, 0..0);
        let mut later = None;
        for (number, mut section) in root.sections("tag").into_iter().enumerate() {
            let Some(head) = tags::head(&mut section) else { continue };
            let rest = match head.value_type {
                Some(value_type) if !tags::refers(&section) => {
                    Rest::Known(tags::body(&mut section, value_type, head.writable, around, common))
                }
                Some(_) => {
                    section.ignore_rest();
                    let place = *later.get_or_insert_with(|| {
                        self.later.push((context.begin, text.to_owned()));
                        self.later.len() - 1
                    });
                    Rest::Later(place, number)
                }
                None => {
                    // Whether the rest fits depends on the type.
                    section.ignore_rest();
                    Rest::Wrong
                }
            };
            self.tags.push((head, rest));
        }
        for key in root.remaining() {
            let help = "a file of the tags folder holds [[tag]] and nothing else";
            root.error(key.span, format!("`{}` does not stand in the tags folder", key.value), help);
            root.skip(key.value);
        }
    }
}

/// Enters what was read: gives ids, finds what is defined twice.
fn enter(file: usize, piece: Piece, defined: &mut Defined, book: &mut Book, own: &mut Own<'_>, room: Room<'_>) {
    let mut problems = room.problems.borrow_mut();
    problems.list.extend(piece.problems.list);
    let none = Arc::new(TagTraits::of(ValueType::scalar(DataType::Boolean)));
    let mut later: Vec<Later> =
        piece.later.into_iter().map(|(begin, text)| Later { file, begin, text, tags: Vec::new() }).collect();
    for (Head { path, place, value_type, writable }, rest) in piece.tags {
        let (id, path) = own.intern(path);
        if let Some(first) = book.tag(&path) {
            problems.push(beside(
                (place, format!("tag `{path}` is defined twice"), "remove one of them"),
                (first.place.clone(), "first here"),
            ));
            continue;
        }
        book.define_tag(TagEntry { id, path: path.clone(), value_type, writable, place });
        if let Rest::Later(text, number) = rest {
            later[text].tags.push((number, defined.tags.len()));
        }
        let body = match rest {
            Rest::Known(body) => body,
            Rest::Wrong | Rest::Later(..) => Body { traits: Arc::clone(&none), description: Box::default(), origin: None },
        };
        defined.tags.push(def(id, path, body));
    }
    defined.later.extend(later);
}

fn def(id: TagId, path: TagPath, body: Body) -> TagDef {
    let Body { traits, description, origin } = body;
    TagDef { id, path, origin: origin.unwrap_or(Origin::System), traits, description }
}

fn beside((place, message, help): (Place, String, &str), (second, label): (Place, &str)) -> Problem {
    let second = Some((second, label.to_owned()));
    Problem { severity: Severity::Error, place: Some(place), message, help: help.to_owned(), second }
}

/// A tag holds nothing but its alarms: clients could not browse a variable that is a folder too.
fn below_others(book: &Book, room: Room<'_>) {
    let above = |path: &str, folder: &str| path.starts_with(folder) && path.as_bytes().get(folder.len()) == Some(&b'/');
    // The folders above the tag before are known to be none.
    let mut before = "";
    for tag in &book.tags {
        let mut folders = std::iter::successors(tag.path.parent(), |path| Some(path.rsplit_once('/')?.0));
        let found = folders.by_ref().take_while(|folder| !above(before, folder)).find_map(|folder| book.tag(folder));
        before = if found.is_none() { &tag.path } else { "" };
        if let Some(folder) = found {
            let message = format!("tag `{}` lies below the tag `{}`", tag.path, folder.path);
            let help = "a tag cannot be a folder: rename one of them";
            let second = (folder.place.clone(), "this is a tag");
            room.problems.borrow_mut().push(beside((tag.place.clone(), message, help), second));
        }
    }
}

/// The second pass: the rest of the tags that refer to others, and the alarms.
pub(super) fn finish(defined: Defined, around: Around<'_>, own: &mut Own<'_>, room: Room<'_>) -> Read {
    let Defined { mut tags, later } = defined;
    let mut common = Common::default();
    let mut read = Read::default();
    for Later { file, begin, text, tags: wanted } in later {
        let context = Context { loader: room.loader, problems: room.problems, file, begin };
        // What is wrong with its syntax was noted.
        let (table, _) = DeTable::parse_recoverable(&text);
        let mut root = Section::new(context, table.get_ref(), 0..0);
        root.ignore_rest();
        let mut wanted = wanted.into_iter().peekable();
        for (number, mut section) in root.sections("tag").into_iter().enumerate() {
            match wanted.next_if(|(next, _)| *next == number) {
                Some((_, position)) => {
                    let entry = &around.book.tags[position];
                    if let Some(tag) = read.rest(&mut section, entry, around, own, &mut common) {
                        tags[position] = tag;
                    }
                }
                None => section.ignore_rest(),
            }
        }
    }
    read.tags = tags;
    read
}

impl Read {
    /// The rest of a tag, and its alarms.
    fn rest(
        &mut self,
        section: &mut Section<'_>,
        entry: &TagEntry,
        around: Around<'_>,
        own: &mut Own<'_>,
        common: &mut Common,
    ) -> Option<TagDef> {
        tags::skip_head(section);
        let body = tags::body(section, entry.value_type?, entry.writable, around, common);
        if let Some(Origin::Derived(expression)) = &body.origin {
            let place = section.place(section.key_span("expression"));
            self.derived.insert(entry.id, (place, expression.inputs().to_vec()));
        }
        // The alarms of a tag whose own keys are wrong are looked at all the same: all problems are told at once.
        let is_whole = body.origin.is_some();
        let tag = def(entry.id, entry.path.clone(), body);
        let alarms = alarms::of_tag(section, &tag, around.book, own);
        if !is_whole {
            return None;
        }
        self.alarms.extend(alarms);
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_divided_at_headers_only() {
        let text = "# a\n[[tag]]\npath = \"[[tag]]\"\n  [[tag]] # b\n[[tag.alarm]]\n";
        let found: Vec<&str> = parts(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["# a\n", "[[tag]]\npath = \"[[tag]]\"\n  ", "[[tag]] # b\n[[tag.alarm]]\n"]);
        let found: Vec<&str> = parts("[[tag]]\n").map(|range| &"[[tag]]\n"[range]).collect();
        assert_eq!(found, ["[[tag]]\n"]);
    }

    #[test]
    fn pieces_cover_a_text() {
        let text = "[[tag]]\npath = \"Füllstand\"\n".repeat(20_000);
        let all: Vec<_> = pieces(&text).collect();
        assert!(all.len() > 5, "{all:?}");
        assert_eq!((all[0].start, all[all.len() - 1].end), (0, text.len()));
        assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start && text[pair[1].start..].starts_with(HEADER)));
        assert_eq!(pieces("").count(), 0);
    }
}
