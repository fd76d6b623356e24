//! Scripts against a host that writes down what is asked of it.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use super::*;
use crate::engine::view::UserStatistics;

/// Knows a tag, an alarm and a user, and notes every effect.
#[derive(Default)]
struct Double {
    seen: Mutex<Vec<String>>,
    /// Its time is over after so many effects.
    patience: Option<usize>,
}

impl Double {
    fn note(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }
}

impl Host for Double {
    fn send_message(&self, number: &str, message: &str) -> Result<bool, String> {
        self.note(format!("send {number} {message}"));
        if number == "nobody" { Err("no daemon answers".to_owned()) } else { Ok(number.starts_with('+')) }
    }

    fn user(&self, id: i64) -> Result<Option<UserStatistics>, String> {
        self.note(format!("user {id}"));
        let user = UserStatistics {
            id,
            username: "alice".to_owned(),
            phone_number: "+1•••4444".to_owned(),
            messages_received: 1,
            messages_sent: 2,
            calls_received: 3,
            calls_sent: 4,
            call_minutes_received: 5,
            call_minutes_sent: 6,
        };
        Ok((id == 0).then_some(user))
    }

    fn tag(&self, path: &str) -> Result<Option<TagReading>, String> {
        let reading = |value: Json, quality: &str| TagReading {
            value,
            quality: quality.to_owned(),
            time: "2026-11-21T00:00:00Z".to_owned(),
        };
        Ok(match path {
            "Level" => Some(reading(json!(90.5), "Good")),
            "Count" => Some(reading(json!(7), "Good")),
            "Lost" => Some(reading(Json::Null, "BadNoCommunication")),
            "List" => Some(reading(json!([1, 2.5, "x"]), "Good")),
            _ => None,
        })
    }

    fn alarm(&self, path: &str) -> Result<Option<Json>, String> {
        Ok((path == "Level/Alarms/HighHigh").then(high_high))
    }

    fn write(&self, path: &str, value: Json) -> Result<String, String> {
        self.note(format!("write {path} {value}"));
        Ok(if path == "Level" { "Good" } else { "BadUserAccessDenied" }.to_owned())
    }

    fn print(&self, line: &str) {
        self.note(format!("print {line}"));
    }

    fn over(&self) -> Option<String> {
        let over = self.patience.is_some_and(|most| self.seen.lock().unwrap().len() > most);
        over.then(|| "it took longer than 5 s".to_owned())
    }
}

fn high_high() -> Json {
    json!({ "path": "Level/Alarms/HighHigh", "state": "ActiveUnacked", "priority": "critical", "value": "90.5", "message": "high" })
}

fn run_on(host: &Arc<Double>, source: &str, place: Use, given: Given) -> Result<Ended, String> {
    let program = Program::compile(source, place).map_err(|errors| {
        errors
            .iter()
            .map(|error| format!("{} at {:?}", error.message, &source[error.span.clone()]))
            .collect::<Vec<_>>()
            .join("; ")
    })?;
    let host = Arc::clone(host);
    let thread = std::thread::Builder::new().stack_size(STACK);
    let run = thread.spawn(move || program.run(host, given)).unwrap();
    run.join().unwrap().map_err(|error| error.to_string())
}

/// What a script does, then its value or its error.
fn check(source: &str, expected: &[&str]) {
    let host = Arc::new(Double::default());
    let result = run_on(&host, source, Use::Command, Given::Nothing);
    let mut seen = host.seen.lock().unwrap().clone();
    seen.push(match result {
        Ok(ended) => ended.value.to_string(),
        Err(error) => format!("error: {error}"),
    });
    assert_eq!(seen, expected, "{source}");
}

#[test]
fn what_scripts_do() {
    for (source, expected) in [
        ("system.twilio.sendMessage(\"+1\", \"hello\")", &["send +1 hello", "true"][..]),
        ("system.twilio.sendMessage(\"1\", \"hello\")", &["send 1 hello", "false"]),
        ("fn tell(n) { system.twilio.sendMessage(n, `${1 + 1}`) }\ntell(\"+1\")", &["send +1 2", "true"]),
        (
            "let a = 1;\n system.twilio.sendMessage(\"nobody\", \"x\")",
            &["send nobody x", "error: no daemon answers (line 2, column 16)"],
        ),
        (
            "let u = system.twilio.getUser(0); [u.getUsername(), u.getPhoneNumber(), u.getMessagesReceived(), u.getMessagesSent(), \
             u.getCallsReceived(), u.getCallsSent(), u.getCallMinutesReceived(), u.getCallMinutesSent()]",
            &["user 0", "[\"alice\",\"+1•••4444\",1,2,3,4,5,6]"],
        ),
        ("system.twilio.getUser(1) == ()", &["user 1", "true"]),
        (
            "[tag(\"Level\") > 90, tag(\"Count\") * 2, tag(\"Lost\") == (), quality(\"Lost\"), time(\"Level\"), tag(\"List\")]",
            &["[true,14,true,\"BadNoCommunication\",\"2026-11-21T00:00:00Z\",[1,2.5,\"x\"]]"],
        ),
        ("\n  tag(\"Nothing\")", &["error: there is no tag `Nothing` (line 2, column 3)"]),
        (
            "let a = alarm(\"Level/Alarms/HighHigh\"); [a.name, a.active, a.acked, a.level, a.priority, a.message]",
            &["[\"HighHigh\",true,false,4,\"critical\",\"high\"]"],
        ),
        ("alarm(\"Nothing\") == ()", &["true"]),
        (
            "[write(\"Level\", 1.5), write_status(), write(\"Count\", true), write_status()]",
            &["write Level 1.5", "write Count true", "[true,\"Good\",false,\"BadUserAccessDenied\"]"],
        ),
        ("print(\"a\"); print(1 + 1); #{ a: 1, b: [(), 'c'] }", &["print a", "print 2", "{\"a\":1,\"b\":[null,\"c\"]}"]),
        ("try { throw \"mine\" } catch (e) { print(e) }", &["print mine", "null"]),
        ("throw \"mine\"", &["error: mine (line 1, column 1)"]),
        ("fn f() { throw \"inner\" }\nf()", &["error: inner (line 1, column 10)"]),
        ("exit(5); print(1)", &["5"]),
        ("let a = 1 / 0; a", &["error: division by zero: 1 / 0 (line 1, column 11)"]),
        ("[round(tag(\"Count\")), floor(1.5), sqrt(9)]", &["[7,1.0,3.0]"]),
    ] {
        check(source, expected);
    }
}

#[test]
fn what_is_no_script() {
    let mut wrong = Vec::new();
    for (source, expected) in [
        ("sendMesage(1)", "unknown function `sendMesage` at \"sendMesage\""),
        ("let a = ;", "unexpected ';' at \";\""),
        ("a + 1", "undefined variable: a at \"a\""),
        ("fn f() { b }\nf()", "undefined variable: b at \"b\""),
        (
            "foo(); bar(); let",
            "unknown function `foo` at \"foo\"; unknown function `bar` at \"bar\"; expecting name of a variable at \"\"",
        ),
        ("eval(\"1\")", "reserved keyword 'eval' is disabled at \"eval\""),
        ("import \"x\" as y;", "'import' is a reserved keyword at \"import\""),
        ("sleep(5)", "unknown function `sleep` at \"sleep\""),
        ("alarm.state", "undefined variable: alarm at \"alarm\""),
    ] {
        let host = Arc::new(Double::default());
        let found = run_on(&host, source, Use::Command, Given::Nothing).unwrap_err();
        if found != expected {
            wrong.push((source, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let long = " ".repeat(MAX_SCRIPT + 1);
    assert_eq!(Program::compile(&long, Use::Command).unwrap_err()[0].message, "a script has at most 65536 bytes");
}

#[test]
fn what_stands_in_scope() {
    let host = Arc::new(Double::default());
    let ended = run_on(&host, "fn f() { alarm.name } [f(), alarm(alarm.path).level]", Use::Pipeline, Given::Alarm(high_high()));
    assert_eq!(ended.unwrap().value, json!(["HighHigh", 4]));
    let gone = run_on(&host, "alarm == ()", Use::Pipeline, Given::Alarm(Json::Null));
    assert_eq!(gone.unwrap().value, json!(true));
    let call = |source: &str| {
        let given = Given::Call {
            action: "menu".to_owned(),
            params: vec![("Digits".to_owned(), "1".to_owned()), ("Digits".to_owned(), "2".to_owned())],
            response: "<Response/>".to_owned(),
        };
        run_on(&host, source, Use::Voice, given).map(|ended| ended.response.unwrap())
    };
    assert_eq!(call("1"), Ok("<Response/>".to_owned()));
    assert_eq!(call("response = `<${callAction}>${params.Digits}${params[\"No\"] == ()}`;"), Ok("<menu>1true".to_owned()));
    assert_eq!(call("response.replace(\"R\", \"r\");"), Ok("<response/>".to_owned()));
    assert_eq!(call("response = 5;"), Err("`response` must be a text, and is of type i64".to_owned()));
}

/// The error of a script that runs into a bound, and how many effects it had.
fn bound(source: &str) -> (String, usize) {
    let host = Arc::new(Double::default());
    let error = run_on(&host, source, Use::Pipeline, Given::Alarm(Json::Null)).unwrap_err();
    let seen = host.seen.lock().unwrap().len();
    (error, seen)
}

#[test]
fn every_bound_holds_and_none_can_be_caught() {
    for (source, expected, effects) in [
        ("loop { }", "too many operations: does a loop never end?", 0),
        ("loop { try { loop { } } catch { } }", "too many operations", 0),
        ("fn f(n) { f(n + 1) } f(0)", "functions call each other too deeply", 0),
        ("fn f(n) { g(n) } fn g(n) { f(n) } f(0)", "functions call each other too deeply", 0),
        ("let s = \"x\"; loop { s += s; }", "too large: length of string", 0),
        ("let s = \"x\"; s.pad(100_000_000, \"y\");", "too large: length of string", 0),
        ("let a = []; loop { a.push(1); }", "too large: size of array", 0),
        ("let a = []; a.pad(100_000_000, 0);", "too large: size of array", 0),
        ("let m = #{}; let i = 0; loop { m.set(`k${i}`, i); i += 1; }", "too large: size of object map", 0),
        // What lies within counts too.
        ("let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; }", "too many operations", 0),
        ("let s = \"x\"; s.pad(16000, \"y\"); let a = [s]; a.push(s);", "too large: length of string", 0),
        ("let a = [0]; a.pad(4000, 0); let b = [a, a];", "too large: size of array", 0),
        ("loop { system.twilio.sendMessage(\"+1\", \"x\") }", "more than 10 messages in one run", 10),
        ("loop { try { system.twilio.sendMessage(\"+1\", \"x\") } catch { } }", "more than 10 messages in one run", 10),
        ("loop { write(\"Level\", 1) }", "more than 100 writes in one run", 100),
        ("loop { system.twilio.getUser(1) }", "more than 1000 calls of the program in one run", 1000),
        ("try { system.twilio.sendMessage(\"nobody\", \"x\") } catch { } print(1)", "no daemon answers", 1),
        ("let s = \"x\"; s.pad(6400, \"y\"); system.twilio.sendMessage(\"+1\", s)", "a message has at most 6400 bytes", 0),
        ("for i in 0..5_000 { print(i); } loop { }", "too many operations", 1001),
        ("[1, 2].for_each(|x| { loop { } })", "too many operations", 0),
    ] {
        let (error, seen) = bound(source);
        assert!(error.starts_with(expected), "{source}: {error}");
        assert_eq!(seen, effects, "{source}");
    }
}

#[test]
fn long_lines_are_cut() {
    let host = Arc::new(Double::default());
    run_on(&host, "let s = \"\"; s.pad(5000, 'é'); print(s);", Use::Command, Given::Nothing).unwrap();
    let line = host.seen.lock().unwrap()[0].clone();
    assert!(line.len() < MAX_LINE + 20 && line.ends_with("é…"), "{line}");
}

#[test]
fn deep_texts_are_refused_and_deep_scripts_fit_the_stack() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Program::compile(&nested(200), Use::Command).is_err());
    let deep = format!("fn f(n) {{ if n > 0 {{ f(n - 1) + {} }} else {{ 0 }} }} f(30)", nested(20));
    check(&deep, &["30"]);
    let many = (0..100).map(|n| format!("fn f{n}() {{ }}")).collect::<Vec<_>>().join("\n");
    assert!(Program::compile(&many, Use::Command).is_err());
}

#[test]
fn a_host_without_time_ends_the_script() {
    for (source, effects) in [
        ("loop { try { system.twilio.sendMessage(\"+1\", \"x\") } catch { } }", 4),
        ("print(1); print(2); print(3); print(4); loop { }", 4),
    ] {
        let host = Arc::new(Double { patience: Some(3), ..Double::default() });
        let error = run_on(&host, source, Use::Command, Given::Nothing).unwrap_err();
        assert!(error.starts_with("it took longer than 5 s"), "{error}");
        assert_eq!(host.seen.lock().unwrap().len(), effects, "{source}");
    }
}

#[test]
fn the_standard_functions_are_there() {
    // A function that there is not is told apart from one that takes other arguments only by what else bears its name; so this
    // calls one of each kind, and `what_is_no_script` holds that nothing else passes.
    for (source, expected) in [
        ("[1, 2, 3].map(|x| x * 2).filter(|x| x > 2).reduce(|sum, x| if sum == () { x } else { sum + x })", "10"),
        ("\"a,b\".split(\",\").len()", "2"),
        ("#{ a: 1 }.keys()", "[\"a\"]"),
        ("\"Anna\".to_upper().sub_string(1, 2)", "\"NN\""),
        ("parse_int(\"12\") + parse_float(\"0.5\")", "12.5"),
        ("let s = \" x \"; s.trim(); s.replace(\"x\", \"y\"); s", "\"y\""),
        ("max(1, 2) + min(3, 4) + abs(-1)", "6"),
        ("`${1.5.round()} ${to_hex(255)}`", "\"2.0 ff\""),
        ("5.get_bit(0)", "true"),
        ("fn twice(x) { x * 2 } Fn(\"twice\").call(4)", "8"),
        ("type_of(1)", "\"i64\""),
    ] {
        check(source, &[expected]);
    }
}

#[test]
fn the_documentation_names_everything() {
    let page = include_str!("../../../docs/scripts.md");
    for (name, call) in OWN {
        assert!(page.contains(&format!("`{call}`")), "docs/scripts.md does not tell of {call}");
        let sample = [("number", "\"+1\""), ("message", "\"x\""), ("path", "\"Level\""), ("value", "1")]
            .into_iter()
            .fold(call.replace("(id)", "(0)").replace("user.", "system.twilio.getUser(0)."), |sample, (argument, value)| {
                sample.replace(argument, value)
            });
        let host = Arc::new(Double::default());
        let ended = run_on(&host, &sample, Use::Command, Given::Nothing);
        assert!(ended.is_ok() && !functions::STANDARD.contains(&name), "{sample}: {ended:?}");
    }
    for name in [Use::Pipeline, Use::Voice, Use::Command].into_iter().flat_map(Use::names) {
        assert!(page.contains(&format!("`{name}`")), "docs/scripts.md does not tell of {name}");
    }
    let limits = [MAX_OPERATIONS, MAX_COMMAND_OPERATIONS, MAX_SENDS.into(), MAX_WRITES.into(), MAX_HOST_CALLS.into()];
    for limit in limits.into_iter().chain([MAX_SCRIPT as u64, u64::from(MAX_LINES), MAX_LINE as u64]) {
        let digits = limit.to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
        assert!(page.contains(&groups.join(",")), "docs/scripts.md does not tell of the limit {limit}");
    }
}

#[test]
fn the_shipped_scripts_compile() {
    let shipped = [
        (include_str!("../../../config/scripts/statistics.rhai"), Use::Command),
        (include_str!("../../../config/scripts/call.rhai"), Use::Voice),
    ];
    for (source, place) in shipped {
        Program::compile(source, place).unwrap();
    }
    let host = Arc::new(Double::default());
    let given = Given::Call {
        action: "answer".to_owned(),
        params: Vec::new(),
        response: "<?xml version=\"1.0\"?><Response><Hangup/></Response>".to_owned(),
    };
    let ended = run_on(&host, include_str!("../../../config/scripts/call.rhai"), Use::Voice, given).unwrap();
    assert_eq!(ended.response.unwrap(), "<?xml version=\"1.0\"?><Response><Pause length=\"1\"/><Hangup/></Response>");
}
