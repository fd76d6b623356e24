//! A source without a device: signals made from the time, for demos and tests.
//!
//! A tag's address is a signal with its parameters, `sine?period=10s&low=0&high=100`. A tag that was written holds what was
//! written from then on. Nothing is read from outside, and the same seed gives the same random walk.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Link, SessionEnd, Source, SourceRequest, SourceTag};
use crate::{
    BoxFuture, clock,
    config::{driver::Driver, reader::Section},
    engine::plan::{Settings, TagTraits},
    tag::{DataType, Rank, Sample, StatusCode, TagId, Value},
};

/// The driver as the configuration sees it.
pub const DRIVER: Driver = Driver { kind: "simulator", example: EXAMPLE, settings, address };

const EXAMPLE: &str = r#"[[source]]
name = "sim"
kind = "simulator"
poll = "1s"                     # how often signals are sampled that do not say otherwise

[[tag]]
path = "Demo/Sine"
type = "Double"
source = "sim"
address = "sine?period=10s&low=0&high=100"
                                # ramp?period=&low=&high=   square?period=&low=&high=&duty=0.5
                                # counter?every=1s&step=1&low=0&high=65535   random?every=1s&step=1&low=&high=&seed=1
                                # sequence?every=1s&values=0,0,1   hold?value=0
poll = "250ms"
"#;

const MAX_PERIOD: Duration = Duration::from_secs(365 * 24 * 3600);
/// Steps of a random walk made up for at once; a longer pause is passed over.
const MAX_STEPS: u64 = 100_000;
/// Values of a scripted sequence.
const MAX_VALUES: usize = 10_000;

/// What a tag shows.
#[derive(Clone, Debug, PartialEq)]
struct Signal {
    shape: Shape,
    low: f64,
    high: f64,
    /// One round of a wave, or one step of the others.
    period: Duration,
    poll: Duration,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Sine,
    Ramp,
    /// The share of the period that is high, 0 to 1.
    Square(f64),
    Counter(f64),
    Random {
        step: f64,
        seed: u64,
    },
    Sequence(Vec<Value>),
    Hold(Value),
}

/// What is wrong with an address, and what would be right.
struct Unusable(String, String);

fn unusable(message: impl fmt::Display, help: impl fmt::Display) -> Unusable {
    Unusable(message.to_string(), help.to_string())
}

/// Always some: the shape of the driver's table asks for an option.
#[allow(clippy::unnecessary_wraps)]
fn settings(section: &mut Section<'_>) -> Option<Settings> {
    let poll = section.duration("poll", Duration::from_millis(1)..=MAX_PERIOD).unwrap_or(Duration::from_secs(1));
    Some(Arc::new(poll))
}

fn address(section: &mut Section<'_>, tag: &TagTraits, source: &Settings) -> Option<Settings> {
    let default = source.downcast_ref::<Duration>()?;
    let text = section.required_string("address");
    let poll = section.duration("poll", Duration::from_millis(1)..=MAX_PERIOD).unwrap_or(*default);
    let text = text?;
    let signal = Signal::parse(&text.value, tag, poll);
    signal
        .map(|signal| Arc::new(signal) as Settings)
        .map_err(|Unusable(message, help)| section.error(text.span, message, help))
        .ok()
}

impl Signal {
    fn parse(text: &str, tag: &TagTraits, poll: Duration) -> Result<Self, Unusable> {
        let data_type = tag.value_type.data_type;
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let mut given = HashMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if given.insert(key, value).is_some() {
                return Err(unusable(format_args!("`{key}` is given twice"), "keep one"));
            }
        }
        if tag.value_type.rank != Rank::Scalar {
            return Err(unusable("a simulated tag is no array", "use a scalar type"));
        }
        let values = matches!(name, "sequence" | "hold");
        if !values && !data_type.is_numeric() && data_type != DataType::Boolean {
            let message = format_args!("a tag of type {data_type} cannot have this signal");
            return Err(unusable(message, "use a numeric type or Boolean, or the signals `sequence` or `hold`"));
        }
        let every = Duration::from_secs(1);
        let mut take = |key: &str| given.remove(key);
        let signal = Self {
            low: number("low", take("low"), 0.0)?,
            high: number("high", take("high"), if name == "counter" { 65_535.0 } else { 1.0 })?,
            period: match name {
                "sine" | "ramp" | "square" => duration("period", take("period"), 10 * every)?,
                "counter" | "random" | "sequence" => duration("every", take("every"), every)?,
                _ => every,
            },
            poll,
            shape: match name {
                "sine" => Shape::Sine,
                "ramp" => Shape::Ramp,
                "square" => Shape::Square(number("duty", take("duty"), 0.5)?),
                "counter" => Shape::Counter(number("step", take("step"), 1.0)?),
                "random" => Shape::Random {
                    step: number("step", take("step"), 0.05)?,
                    seed: take("seed").map_or(Ok(1), str::parse).map_err(|_| unusable("`seed` is no number", "for example 1"))?,
                },
                "sequence" => {
                    let help = "for example `sequence?every=1s&values=0,0,1`";
                    let values = take("values").ok_or_else(|| unusable("a sequence needs its `values`", help))?;
                    let values: Result<Vec<_>, _> = values.split(',').map(|text| value(text, data_type)).collect();
                    let values = values?;
                    if values.len() > MAX_VALUES {
                        return Err(unusable("the sequence is too long", format_args!("at most {MAX_VALUES} values")));
                    }
                    Shape::Sequence(values)
                }
                "hold" => Shape::Hold(match take("value") {
                    Some(text) => value(text, data_type)?,
                    None => value(if data_type == DataType::String { "" } else { "0" }, data_type)?,
                }),
                _ => {
                    let known = "one of sine, ramp, square, counter, random, sequence, hold";
                    return Err(unusable(format_args!("unknown signal `{name}`"), known));
                }
            },
        };
        if let Some(key) = given.keys().min() {
            return Err(unusable(format_args!("`{name}` has no parameter `{key}`"), "see the example of the simulator"));
        }
        if signal.low >= signal.high {
            return Err(unusable("`low` must lie below `high`", "swap them"));
        }
        Ok(signal)
    }

    /// The value `elapsed` after the start; a random walk goes on from `walk`.
    fn at<'w>(&self, elapsed: Duration, walk: impl FnOnce() -> &'w mut Walk, tag: &TagTraits) -> Value {
        let span = self.high - self.low;
        let rounds = elapsed.as_secs_f64() / self.period.as_secs_f64();
        let steps = (elapsed.as_nanos() / self.period.as_nanos().max(1)).try_into().unwrap_or(u64::MAX);
        #[allow(clippy::cast_precision_loss)]
        let number = match &self.shape {
            Shape::Sine => self.low + span * (0.5 + 0.5 * (rounds * std::f64::consts::TAU).sin()),
            Shape::Ramp => self.low + span * rounds.fract(),
            Shape::Square(duty) => {
                if rounds.fract() < *duty {
                    self.high
                } else {
                    self.low
                }
            }
            Shape::Counter(step) => self.low + (steps as f64 * step).rem_euclid(span + step.abs()),
            Shape::Random { step, seed } => walk().to(steps, *step, *seed, (self.low, self.high)),
            Shape::Sequence(values) => {
                let index = usize::try_from(steps % values.len() as u64).unwrap_or_default();
                return values[index].clone();
            }
            Shape::Hold(value) => return value.clone(),
        };
        if tag.value_type.data_type == DataType::Boolean {
            return Value::Boolean(number >= self.low + span / 2.0);
        }
        let number = tag.scale.as_ref().map_or(number, |scale| scale.to_eu(number));
        tag.value_type.data_type.from_f64(number).unwrap_or_default()
    }
}

fn number(key: &str, text: Option<&str>, default: f64) -> Result<f64, Unusable> {
    let Some(text) = text else { return Ok(default) };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| unusable(format_args!("`{key}` is no number"), format_args!("for example {default}")))
}

fn duration(key: &str, text: Option<&str>, default: Duration) -> Result<Duration, Unusable> {
    let Some(text) = text else { return Ok(default) };
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let count: Option<u64> = text[..text.len() - unit.len()].parse().ok();
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let duration = count.zip(millis).and_then(|(count, millis)| count.checked_mul(millis)).map(Duration::from_millis);
    duration
        .filter(|duration| (Duration::from_millis(1)..=MAX_PERIOD).contains(duration))
        .ok_or_else(|| unusable(format_args!("`{key}` is no duration"), "for example 500ms, 10s, 5m"))
}

fn value(text: &str, data_type: DataType) -> Result<Value, Unusable> {
    let value = match (data_type, text) {
        (DataType::String, text) => Some(Value::string(text)),
        (DataType::Boolean, "true" | "1") => Some(Value::Boolean(true)),
        (DataType::Boolean, "false" | "0") => Some(Value::Boolean(false)),
        _ if data_type.is_integer() => text.parse().ok().and_then(|integer| data_type.from_i128(integer)),
        _ => text.parse().ok().and_then(|number| data_type.from_f64(number)),
    };
    value.ok_or_else(|| unusable(format_args!("`{text}` is no value of type {data_type}"), "values are joined by commas"))
}

/// Where a random walk stands.
#[derive(Clone, Debug, Default)]
struct Walk {
    random: Option<fastrand::Rng>,
    steps: u64,
    number: f64,
}

impl Walk {
    /// Goes on to `steps`; a step moves by at most `step` of the span and is turned back at the ends.
    fn to(&mut self, steps: u64, step: f64, seed: u64, (low, high): (f64, f64)) -> f64 {
        let number = &mut self.number;
        let random = self.random.get_or_insert_with(|| {
            *number = f64::midpoint(low, high);
            fastrand::Rng::with_seed(seed)
        });
        for _ in 0..steps.saturating_sub(self.steps).min(MAX_STEPS) {
            let moved = *number + (random.f64() * 2.0 - 1.0) * step * (high - low);
            *number = moved.clamp(low, high);
        }
        self.steps = self.steps.max(steps);
        *number
    }
}

/// The simulator; what was written stays over a session's end.
struct Simulator {
    started: Instant,
    walks: HashMap<TagId, Walk>,
    written: HashMap<TagId, Value>,
}

/// The source for settings that [`DRIVER`] made.
#[must_use]
pub fn new(_settings: &Settings) -> Box<dyn Source> {
    Box::new(Simulator { started: Instant::now(), walks: HashMap::new(), written: HashMap::new() })
}

impl Source for Simulator {
    fn session<'a>(&'a mut self, link: &'a mut Link) -> BoxFuture<'a, SessionEnd> {
        Box::pin(self.run(link))
    }
}

impl Simulator {
    async fn run(&mut self, link: &mut Link) -> SessionEnd {
        let now = Instant::now();
        let mut groups: Vec<(Duration, Instant, Vec<usize>)> = Vec::new();
        for (at, tag) in link.tags.iter().enumerate() {
            let Some(poll) = tag.address.downcast_ref::<Signal>().map(|signal| signal.poll) else { continue };
            match groups.iter_mut().find(|(known, ..)| *known == poll) {
                Some((.., tags)) => tags.push(at),
                None => groups.push((poll, now, vec![at])),
            }
        }
        link.connected();
        loop {
            let next = groups.iter_mut().min_by_key(|(_, due, _)| *due);
            let due = next.as_ref().map(|(_, due, _)| *due);
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = link.stop.cancelled() => return SessionEnd::Stopped,
                request = link.requests.recv() => match request {
                    Some(request) => self.request(request, link),
                    None => return SessionEnd::Stopped,
                },
                () = wait => {
                    let Some((poll, due, tags)) = next else { continue };
                    *due = (*due + *poll).max(Instant::now());
                    let samples = tags.iter().map(|at| self.sample(&link.tags[*at])).collect();
                    link.stats.read();
                    link.alive();
                    link.samples(samples);
                }
            }
        }
    }

    fn request(&mut self, request: SourceRequest, link: &Link) {
        match request {
            SourceRequest::Write { tag, value, reply } => {
                let found = link.tags.iter().find(|known| known.id == tag);
                let status = match found {
                    None => StatusCode::BAD_NOT_FOUND,
                    Some(found) if !found.value_type.admits(&value) => StatusCode::BAD_TYPE_MISMATCH,
                    Some(found) => {
                        self.written.insert(tag, value);
                        link.samples(vec![self.sample(found)]);
                        StatusCode::GOOD
                    }
                };
                if status.is_bad() {
                    link.stats.write_error();
                }
                let _ = reply.send(status);
            }
            SourceRequest::Read { tag, reply } => {
                let found = link.tags.iter().find(|known| known.id == tag).map(|found| self.sample(found));
                let _ = reply.send(found.map_or(Err(StatusCode::BAD_NOT_FOUND), |sample| {
                    if sample.status.is_good() { Ok(sample.value) } else { Err(sample.status) }
                }));
            }
        }
    }

    fn sample(&mut self, tag: &SourceTag) -> Sample {
        let id = tag.id;
        let value = match (self.written.get(&id), tag.address.downcast_ref::<Signal>()) {
            (Some(written), _) => written.clone(),
            (None, Some(signal)) => signal.at(self.started.elapsed(), || self.walks.entry(id).or_default(), tag),
            (None, None) => Value::Null,
        };
        let status = if value.is_null() { StatusCode::BAD_OUT_OF_RANGE } else { StatusCode::GOOD };
        Sample { tag: id, value, status, source_time: clock::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tag, *};

    fn signal(text: &str, value_type: &str) -> Result<Signal, String> {
        Signal::parse(text, &tag(value_type), Duration::from_secs(1)).map_err(|Unusable(message, _)| message)
    }

    #[track_caller]
    fn check(text: &str, value_type: &str, at: &[(u64, Value)]) {
        let signal = signal(text, value_type).unwrap();
        let mut walk = Walk::default();
        for (millis, expected) in at {
            let value = signal.at(Duration::from_millis(*millis), || &mut walk, &tag(value_type));
            assert_eq!(value, *expected, "{text} after {millis} ms");
        }
    }

    #[test]
    fn every_signal() {
        let double = Value::Double;
        check("sine?period=4s&low=0&high=10", "Double", &[(0, double(5.0)), (1000, double(10.0)), (3000, double(0.0))]);
        check("ramp?period=10s&low=10&high=20", "Float", &[(0, Value::Float(10.0)), (5000, Value::Float(15.0))]);
        let square = [(0, Value::Boolean(true)), (999, Value::Boolean(true)), (1000, Value::Boolean(false))];
        check("square?period=4s&duty=0.25", "Boolean", &square);
        let counter = [(0, Value::Byte(0)), (2500, Value::Byte(2)), (3000, Value::Byte(3)), (4000, Value::Byte(0))];
        check("counter?high=3", "Byte", &counter);
        let text = [(0, Value::string("off")), (1000, Value::string("on")), (2000, Value::string("off"))];
        check("sequence?values=off,on", "String", &text);
        check("hold?value=7", "Int16", &[(0, Value::Int16(7)), (60_000, Value::Int16(7))]);
    }

    #[test]
    fn a_random_walk_keeps_to_its_range_and_its_seed() {
        let signal = signal("random?every=10ms&low=-5&high=5&step=0.5&seed=3", "Double").unwrap();
        let run = || {
            let mut walk = Walk::default();
            let at = |step: u64| signal.at(Duration::from_millis(10 * step), || &mut walk, &tag("Double")).as_f64().unwrap();
            (0..1000).map(at).collect::<Vec<_>>()
        };
        let first = run();
        assert_eq!(first, run());
        assert!(first.iter().all(|number| (-5.0..=5.0).contains(number)));
        assert!(first.windows(2).any(|pair| (pair[0] - pair[1]).abs() > f64::EPSILON));
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, value_type, message) in [
            ("triangle", "Double", "unknown signal `triangle`"),
            ("sine?period=10", "Double", "`period` is no duration"),
            ("sine?period=0s", "Double", "`period` is no duration"),
            ("sine?low=a", "Double", "`low` is no number"),
            ("sine?low=1&low=2", "Double", "`low` is given twice"),
            ("sine?low=2&high=1", "Double", "`low` must lie below `high`"),
            ("sine?every=1s", "Double", "`sine` has no parameter `every`"),
            ("sine", "String", "a tag of type String cannot have this signal"),
            ("sine", "Double[2]", "a simulated tag is no array"),
            ("sequence", "Double", "a sequence needs its `values`"),
            ("sequence?values=1,x", "Int16", "`x` is no value of type Int16"),
            ("hold?value=300", "Byte", "`300` is no value of type Byte"),
        ] {
            assert_eq!(signal(text, value_type), Err(message.to_owned()), "{text}");
        }
    }
}
