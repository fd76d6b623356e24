//! The language of scripts: Rhai with its standard functions, and ours that reach the program through a [`Host`].
//!
//! Deliberately absent: `eval`, `import`, `sleep`, files, time, and everything that Rhai's packages do not bring.

use std::sync::{
    Arc, LazyLock, OnceLock, PoisonError, RwLock,
    atomic::{AtomicU32, Ordering},
};

use rhai::{
    Dynamic, Engine, EvalAltResult, FLOAT, INT, ImmutableString, Module, Position,
    packages::{
        BasicArrayPackage, BasicMapPackage, BasicMathPackage, BitFieldPackage, CorePackage, LogicPackage, MoreStringPackage,
        Package,
    },
};

use super::{
    host::{Host, TagReading, Use},
    values,
};
use crate::engine::view::UserStatistics;

/// The most calls of the program in one run: reading, sending, writing.
pub const MAX_HOST_CALLS: u32 = 1_000;
/// The most messages in one run.
pub const MAX_SENDS: u32 = 10;
/// The most writes in one run.
pub const MAX_WRITES: u32 = 100;
/// The most lines printed in one run.
pub const MAX_LINES: u32 = 1_000;
/// The longest printed line in bytes; what is longer is cut.
pub const MAX_LINE: usize = 1_000;
/// The longest number and the longest message, bytes; Twilio takes 1,600 characters.
pub const MAX_MESSAGE: usize = 6_400;

/// The most operations of a script in the daemon. With [`MAX_TEXT`] this also bounds memory: Rhai does not look at the size of a map
/// or array when `x[i] = …` changes it, so that each few operations may keep one more text.
pub const MAX_OPERATIONS: u64 = 100_000;
/// The most operations of `annunciator script`, which has a process of its own.
pub const MAX_COMMAND_OPERATIONS: u64 = 1_000_000;
const MAX_CALL_LEVELS: usize = 32;
const MAX_EXPRESSION_DEPTH: usize = 48;
const MAX_TEXT: usize = 16_384;
const MAX_ELEMENTS: usize = 4_096;
const MAX_VARIABLES: usize = 256;
const MAX_FUNCTIONS: usize = 64;

/// The functions that are the program's own, with how they are called: for people, and for the test that the documentation names
/// every one of them. A method stands with its object.
pub const OWN: [(&str, &str); 16] = [
    ("sendMessage", "system.twilio.sendMessage(number, message)"),
    ("getUser", "system.twilio.getUser(id)"),
    ("getUsername", "user.getUsername()"),
    ("getPhoneNumber", "user.getPhoneNumber()"),
    ("getMessagesReceived", "user.getMessagesReceived()"),
    ("getMessagesSent", "user.getMessagesSent()"),
    ("getCallsReceived", "user.getCallsReceived()"),
    ("getCallsSent", "user.getCallsSent()"),
    ("getCallMinutesReceived", "user.getCallMinutesReceived()"),
    ("getCallMinutesSent", "user.getCallMinutesSent()"),
    ("tag", "tag(path)"),
    ("quality", "quality(path)"),
    ("time", "time(path)"),
    ("alarm", "alarm(path)"),
    ("write", "write(path, value)"),
    ("write_status", "write_status()"),
];

/// The names of Rhai's own functions that scripts may call.
#[rustfmt::skip]
pub(super) const STANDARD: &[&str] = &[
    "Fn", "PI", "E", "abs", "acos", "acosh", "all", "append", "asin", "asinh", "atan", "atanh", "bits", "bytes", "call", "ceiling", "chars",
    "chop", "clear", "contains", "cos", "cosh", "crop", "curry", "debug", "dedup", "drain", "end", "ends_with", "exit", "exp",
    "extract", "fill_with", "filter", "find", "find_map", "floor", "for_each", "fraction", "get", "get_bit", "get_bits", "hypot",
    "index_of", "insert", "int", "is_anonymous", "is_def_fn", "is_def_var", "is_empty", "is_even", "is_exclusive", "is_finite",
    "is_inclusive", "is_infinite", "is_nan", "is_odd", "is_shared", "is_zero", "keys", "len", "ln", "log", "log10", "make_lower",
    "make_upper", "map", "max", "merge", "min", "mixin", "name", "order", "order_by", "order_desc", "pad", "parse_float",
    "parse_int", "parse_json", "pop", "print", "push", "range", "reduce", "reduce_rev", "remove", "replace", "retain", "reverse",
    "round", "set", "set_bit", "set_bits", "shift", "sign", "sin", "sinh", "some", "sort", "sort_by", "sort_desc", "splice", "split",
    "split_rev", "sqrt", "start", "starts_with", "sub_string", "take", "tan", "tanh", "to_binary", "to_chars", "to_debug",
    "to_degrees", "to_float", "to_hex", "to_int", "to_json", "to_lower", "to_octal", "to_radians", "to_string", "to_upper", "trim",
    "truncate", "type_of", "values", "zip",
];

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// An engine that knows the language, its limits, and nothing of the program: it compiles.
pub(super) fn language(place: Use) -> Engine {
    static PACKAGES: LazyLock<[rhai::Shared<Module>; 7]> = LazyLock::new(|| {
        [
            CorePackage::new().as_shared_module(),
            LogicPackage::new().as_shared_module(),
            BasicMathPackage::new().as_shared_module(),
            BitFieldPackage::new().as_shared_module(),
            BasicArrayPackage::new().as_shared_module(),
            BasicMapPackage::new().as_shared_module(),
            MoreStringPackage::new().as_shared_module(),
        ]
    });
    let mut engine = Engine::new_raw();
    for package in &*PACKAGES {
        engine.register_global_module(Arc::clone(package));
    }
    // Rhai's mathematics is for floating-point numbers; tags are often integers.
    #[allow(clippy::cast_precision_loss)]
    engine
        .register_fn("floor", |number: INT| number)
        .register_fn("ceiling", |number: INT| number)
        .register_fn("round", |number: INT| number)
        .register_fn("sqrt", |number: INT| (number as FLOAT).sqrt());
    engine
        .register_fn("sleep", |_: INT| -> Result<()> { Err("a script cannot sleep".into()) })
        .register_fn("sleep", |_: FLOAT| -> Result<()> { Err("a script cannot sleep".into()) });
    engine
        .set_strict_variables(true)
        .set_max_operations(if place == Use::Command { MAX_COMMAND_OPERATIONS } else { MAX_OPERATIONS })
        .set_max_call_levels(MAX_CALL_LEVELS)
        .set_max_expr_depths(MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_DEPTH)
        .set_max_string_size(MAX_TEXT)
        .set_max_array_size(MAX_ELEMENTS)
        .set_max_map_size(MAX_ELEMENTS)
        .set_max_variables(MAX_VARIABLES)
        .set_max_functions(MAX_FUNCTIONS)
        .disable_symbol("eval");
    engine
}

/// `system`.
#[derive(Clone)]
struct System;
/// `system.twilio`.
#[derive(Clone)]
struct Twilio;

/// What `getUser` gives.
type User = Arc<UserStatistics>;

/// One run's way to its host, with what it has used of it.
struct Link {
    host: Arc<dyn Host>,
    calls: AtomicU32,
    sends: AtomicU32,
    writes: AtomicU32,
    lines: AtomicU32,
    write_status: RwLock<String>,
    over: OnceLock<String>,
}

impl Link {
    /// Ends the script; `try` does not catch it.
    fn end<T>(&self, why: String) -> Result<T> {
        // The first reason is the one that is told.
        let why = self.over.get_or_init(|| why).clone();
        Err(EvalAltResult::ErrorTerminated(why.into(), Position::NONE).into())
    }

    fn count(&self, counter: &AtomicU32, most: u32, what: &str) -> Result<()> {
        if counter.fetch_add(1, Ordering::Relaxed) >= most {
            return self.end(format!("more than {most} {what} in one run"));
        }
        Ok(())
    }

    /// Asks the host, within the bounds.
    fn ask<T>(&self, ask: impl FnOnce(&dyn Host) -> std::result::Result<T, String>) -> Result<T> {
        self.count(&self.calls, MAX_HOST_CALLS, "calls of the program")?;
        let answer = ask(&*self.host).or_else(|words| self.end(words))?;
        match self.host.over() {
            Some(why) => self.end(why),
            None => Ok(answer),
        }
    }

    fn send(&self, number: &str, message: &str) -> Result<bool> {
        self.count(&self.sends, MAX_SENDS, "messages")?;
        if number.len() + message.len() > MAX_MESSAGE {
            return Err(format!("a message has at most {MAX_MESSAGE} bytes").into());
        }
        self.ask(|host| host.send_message(number, message))
    }

    fn tag(&self, path: &str) -> Result<TagReading> {
        self.ask(|host| host.tag(path))?.ok_or_else(|| format!("there is no tag `{path}`").into())
    }

    fn write(&self, path: &str, value: &Dynamic) -> Result<bool> {
        self.count(&self.writes, MAX_WRITES, "writes")?;
        let status = self.ask(|host| host.write(path, values::to_json(value)))?;
        let good = status.starts_with("Good");
        *self.write_status.write().unwrap_or_else(PoisonError::into_inner) = status;
        Ok(good)
    }

    fn print(&self, line: &str) {
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            MAX_LINES => self.host.print("… (further lines are left out)"),
            count if count > MAX_LINES => {}
            _ if line.len() > MAX_LINE => {
                let end = line.floor_char_boundary(MAX_LINE);
                self.host.print(&format!("{}…", &line[..end]));
            }
            _ => self.host.print(line),
        }
    }
}

/// An engine for one run.
pub(super) fn running(place: Use, host: Arc<dyn Host>, constants: Vec<(&'static str, Dynamic)>) -> Engine {
    let mut engine = language(place);
    let link = Arc::new(Link {
        host,
        calls: AtomicU32::new(0),
        sends: AtomicU32::new(0),
        writes: AtomicU32::new(0),
        lines: AtomicU32::new(0),
        write_status: RwLock::default(),
        over: OnceLock::new(),
    });
    // What stands in a module is seen in the script's functions too.
    let mut module = Module::new();
    module.set_var("system", Dynamic::from(System));
    for (name, value) in constants {
        module.set_var(name, value);
    }
    engine.register_global_module(module.into());
    tell(&mut engine, &link);
    twilio(&mut engine, &link);
    plant(&mut engine, &link);
    engine
}

/// Printing, and the end of a run that takes too long.
fn tell(engine: &mut Engine, link: &Arc<Link>) {
    /// The host is asked this often whether the time is over, in operations.
    const LOOK: u64 = 256;
    let (to, debug) = (Arc::clone(link), Arc::clone(link));
    engine.on_print(move |line| to.print(line));
    engine.on_debug(move |line, _, position| debug.print(&format!("{position}: {line}")));
    let link = Arc::clone(link);
    engine.on_progress(move |operations| {
        let over = link.over.get().cloned();
        over.or_else(|| operations.is_multiple_of(LOOK).then(|| link.host.over()).flatten()).map(Dynamic::from)
    });
}

fn twilio(engine: &mut Engine, link: &Arc<Link>) {
    engine.register_type_with_name::<System>("System").register_get("twilio", |_: &mut System| Twilio);
    let (sends, users) = (Arc::clone(link), Arc::clone(link));
    engine
        .register_type_with_name::<Twilio>("Twilio")
        .register_fn("sendMessage", move |_: &mut Twilio, number: &str, message: &str| sends.send(number, message))
        .register_fn("getUser", move |_: &mut Twilio, id: INT| -> Result<Dynamic> {
            Ok(users.ask(|host| host.user(id))?.map_or(Dynamic::UNIT, |user| Dynamic::from(Arc::new(user))))
        });
    let count = |get: fn(&UserStatistics) -> i32| move |user: &mut User| INT::from(get(user));
    engine
        .register_type_with_name::<User>("User")
        .register_fn("getUsername", |user: &mut User| user.username.clone())
        .register_fn("getPhoneNumber", |user: &mut User| user.phone_number.clone())
        .register_fn("getMessagesReceived", count(|user| user.messages_received))
        .register_fn("getMessagesSent", count(|user| user.messages_sent))
        .register_fn("getCallsReceived", count(|user| user.calls_received))
        .register_fn("getCallsSent", count(|user| user.calls_sent))
        .register_fn("getCallMinutesReceived", count(|user| user.call_minutes_received))
        .register_fn("getCallMinutesSent", count(|user| user.call_minutes_sent));
}

/// Tags and alarms.
fn plant(engine: &mut Engine, link: &Arc<Link>) {
    let [tag, quality, time, alarm, write, status] = std::array::from_fn(|_| Arc::clone(link));
    engine
        .register_fn("tag", move |path: &str| -> Result<Dynamic> { Ok(values::to_dynamic(&tag.tag(path)?.value)) })
        .register_fn("quality", move |path: &str| -> Result<ImmutableString> { Ok(quality.tag(path)?.quality.into()) })
        .register_fn("time", move |path: &str| -> Result<ImmutableString> { Ok(time.tag(path)?.time.into()) })
        .register_fn("alarm", move |path: &str| -> Result<Dynamic> {
            Ok(alarm.ask(|host| host.alarm(path))?.as_ref().map_or(Dynamic::UNIT, values::alarm))
        })
        .register_fn("write", move |path: &str, value: Dynamic| write.write(path, &value))
        .register_fn("write_status", move || {
            ImmutableString::from(status.write_status.read().unwrap_or_else(PoisonError::into_inner).as_str())
        });
}
