//! A source under test: made from configuration text as the daemon would, with a sink that remembers.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use annunciator::{
    config::{
        driver::Driver,
        reader::{Loader, Section, read_text},
    },
    engine::plan::{Origin, Scale, Settings, TagDef, TagTraits},
    source::{Link, SessionEnd, Source, SourceRequest, SourceSink, SourceStats, SourceTag},
    tag::{Sample, StatusCode, TagId, TagPath, Value},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::BOUND;

/// One tag for a test.
#[derive(Clone, Copy, Default)]
pub struct Tag {
    /// Its path.
    pub path: &'static str,
    /// Its type.
    pub value_type: &'static str,
    /// The driver's keys in `[[tag]]`.
    pub keys: &'static str,
    /// May be written.
    pub writable: bool,
    /// Raw and engineering range, clamped.
    pub scale: Option<((f64, f64), (f64, f64))>,
}

/// What a source reported.
#[derive(Default)]
pub struct Seen {
    /// The last sample of every tag.
    pub last: HashMap<TagId, Sample>,
    /// How many samples in all.
    pub samples: usize,
    /// How often a session came up.
    pub connected: usize,
    /// How often the device answered.
    pub alive: usize,
}

/// Remembers what a source reports.
#[derive(Default)]
pub struct Sink {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl Sink {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_waiters();
    }
}

impl SourceSink for Sink {
    fn connected(&self, _source: &str) {
        self.change(|seen| seen.connected += 1);
    }

    fn samples(&self, _source: &str, samples: Vec<Sample>) {
        self.change(|seen| {
            seen.samples += samples.len();
            seen.last.extend(samples.into_iter().map(|sample| (sample.tag, sample)));
        });
    }

    fn alive(&self, _source: &str) {
        self.change(|seen| seen.alive += 1);
    }
}

/// A source with one session running at a time.
pub struct Running {
    /// What it reported.
    pub sink: Arc<Sink>,
    paths: HashMap<&'static str, TagId>,
    requests: mpsc::Sender<SourceRequest>,
    stop: CancellationToken,
    session: JoinHandle<(Box<dyn Source>, Link, SessionEnd)>,
}

impl Running {
    /// Reads `source` (the driver's keys of `[[source]]`) and `tags`, and starts a session.
    pub fn start(driver: Driver, new: fn(&Settings) -> Box<dyn Source>, source: &str, tags: &[Tag]) -> Self {
        let settings = read(source, driver.settings);
        let made = new(&settings);
        let tags: Vec<_> = (0..).zip(tags).map(|(id, tag)| (tag.path, source_tag(driver, TagId(id), tag, &settings))).collect();
        let paths = tags.iter().map(|(path, tag)| (*path, tag.id)).collect();
        let (requests, receiver) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let sink = Arc::new(Sink::default());
        let link = Link {
            name: "plc".into(),
            tags: tags.into_iter().map(|(_, tag)| tag).collect(),
            requests: receiver,
            stop: stop.clone(),
            stats: Arc::new(SourceStats::default()),
            sink: sink.clone(),
        };
        Self { sink, paths, requests, stop, session: spawn(made, link) }
    }

    /// Waits until `condition` holds for what was seen.
    pub async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.sink.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition(&self.sink.seen.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(BOUND, wait).await.is_err() {
            let seen = self.sink.seen.lock().unwrap();
            panic!("no {what} within {BOUND:?}; session ended: {}; saw {:#?}", self.session.is_finished(), seen.last);
        }
    }

    /// Waits until `path` has this value, Good.
    pub async fn value(&self, path: &'static str, value: &Value) {
        let id = self.paths[path];
        let good = |sample: &Sample| sample.status == StatusCode::GOOD && sample.value == *value;
        self.until(&format!("{path} = {value:?}"), |seen| seen.last.get(&id).is_some_and(good)).await;
    }

    /// Waits until `path` has this status.
    pub async fn status(&self, path: &'static str, status: StatusCode) {
        let id = self.paths[path];
        self.until(&format!("{path} {status}"), |seen| seen.last.get(&id).is_some_and(|sample| sample.status == status)).await;
    }

    /// The last sample of `path`.
    pub fn last(&self, path: &'static str) -> Option<Sample> {
        self.sink.seen.lock().unwrap().last.get(&self.paths[path]).cloned()
    }

    /// Looks at what was seen.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.sink.seen.lock().unwrap())
    }

    /// Writes through the source; `None` when the reply was dropped.
    pub async fn write(&self, path: &'static str, value: Value) -> Option<StatusCode> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(SourceRequest::Write { tag: self.paths[path], value, reply }).await.unwrap();
        timeout(BOUND, answer).await.expect("a write is answered").ok()
    }

    /// Reads from the device.
    pub async fn read(&self, path: &'static str) -> Option<Result<Value, StatusCode>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(SourceRequest::Read { tag: self.paths[path], reply }).await.unwrap();
        timeout(BOUND, answer).await.expect("a read is answered").ok()
    }

    /// True when the session has ended and nobody has started the next one.
    pub fn has_ended(&self) -> bool {
        self.session.is_finished()
    }

    /// Waits for the end of the session and starts the next one.
    pub async fn next_session(&mut self) -> SessionEnd {
        let (source, link, end) = timeout(BOUND, &mut self.session).await.expect("the session ends").expect("no panic");
        self.session = spawn(source, link);
        end
    }

    /// Stops and returns how the session ended.
    pub async fn stop(self) -> SessionEnd {
        self.stop.cancel();
        timeout(BOUND, self.session).await.expect("the session ends").expect("no panic").2
    }

    /// Waits for the end of the session.
    pub async fn ended(self) -> SessionEnd {
        timeout(BOUND, self.session).await.expect("the session ends").expect("no panic").2
    }
}

fn spawn(mut source: Box<dyn Source>, mut link: Link) -> JoinHandle<(Box<dyn Source>, Link, SessionEnd)> {
    tokio::spawn(async move {
        let end = source.session(&mut link).await;
        (source, link, end)
    })
}

fn source_tag(driver: Driver, id: TagId, tag: &Tag, settings: &Settings) -> SourceTag {
    let def = TagDef::new(
        id,
        TagPath::new(tag.path).unwrap(),
        Origin::System,
        TagTraits {
            scale: tag.scale.map(|(raw, eu)| Scale { raw, eu, clamp: true }),
            writable: tag.writable,
            ..TagTraits::of(tag.value_type.parse().unwrap())
        },
    );
    let address = read(tag.keys, |section| (driver.address)(section, &def, settings));
    SourceTag::new(&def, address)
}

fn read(text: &str, read: impl FnOnce(&mut Section<'_>) -> Option<Settings>) -> Settings {
    let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no such file".into()) };
    let (made, problems) = read_text("test.toml", text, loader, read);
    assert_eq!(problems.errors(), 0, "{text}: {:?}", problems.list);
    made.unwrap_or_else(|| panic!("{text}"))
}

/// A bound for what must happen soon.
pub const SOON: Duration = Duration::from_secs(5);
