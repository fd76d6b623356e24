//! Golden folders: a configuration with its mistakes, and the exact text that `check` prints for it.
//!
//! `UPDATE_EXPECT=1` writes what is printed now; read the difference before it is committed.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use annunciator::{
    config::{File, Loader, driver::Driver, duty, load, reader::Section, render::render},
    engine::plan::{AlarmNode, Origin, Settings, TagTraits},
    tag::{Names, TagPath},
};

/// A driver that stands for a real one: two keys and an address.
const FAKE: Driver = Driver { kind: "fake", example: "", settings: fake_settings, address: fake_address };

fn fake_settings(section: &mut Section<'_>) -> Option<Settings> {
    section.required_string("url")?;
    section.integer("unit", 0..=255);
    Some(Arc::new(()))
}

fn fake_address(section: &mut Section<'_>, _: &TagTraits, _: &Settings) -> Option<Settings> {
    let address = section.required_string("address")?;
    let Ok(number) = address.parse::<u32>() else {
        section.error(address.span, format!("`{}` is not an address", address.value), "write a number");
        return None;
    };
    Some(Arc::new(number))
}

fn files(folder: &Path) -> Vec<File> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let root = folder.parent().unwrap();
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    paths.iter().map(|path| File { name: name(path), text: fs::read_to_string(path).unwrap() }).collect()
}

fn check(case: &Path) -> String {
    let read_file = |path: &Path| fs::read_to_string(case.join(path)).map_err(|_| "no such file".to_owned());
    let loader = Loader { env: &|name| (name == "PLC_HOST").then(|| "192.0.2.10".to_owned()), read_file: &read_file };
    let mut names = Names::default();
    match load(&files(&case.join("config")), &files(&case.join("tags")), &[FAKE], loader, &mut names) {
        Ok(loaded) => render(&loaded.warnings, false),
        Err(problems) => render(&problems, false),
    }
}

#[test]
fn problems_are_told_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 25, "golden folders are missing");
    let mut wrong = Vec::new();
    for case in cases {
        let found = check(&case);
        let path = case.join("expected.txt");
        if update {
            fs::write(&path, &found).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

const LOADER: Loader<'static> = Loader { env: &|_| None, read_file: &|_| Err("no files here".to_owned()) };

fn file(text: &str) -> Vec<File> {
    vec![File { name: "test.toml".into(), text: text.into() }]
}

#[test]
fn ids_survive_a_reload() {
    let config = file("[[source]]\nname = 'plc'\nkind = 'fake'\nurl = 'x'\n");
    let tag = |path: &str| {
        format!("[[tag]]\npath = '{path}'\ntype = 'Boolean'\nsource = 'plc'\naddress = '1'\n[[tag.alarm]]\nname = 'On'\n")
    };
    let mut names = Names::default();
    let first = load(&config, &file(&tag("A/One")), &[FAKE], LOADER, &mut names).unwrap().plan;
    let second = load(&config, &file(&format!("{}{}", tag("A/Zero"), tag("A/One"))), &[FAKE], LOADER, &mut names).unwrap().plan;
    for plan in [&first, &second] {
        for alarm in &plan.alarms {
            for node in AlarmNode::ALL {
                let path = format!("{}/{}", alarm.path, node.describe().0);
                let tag = plan.tag(alarm.nodes.id(node)).unwrap_or_else(|| panic!("{path} is no tag"));
                assert_eq!(*tag.path, *path);
            }
        }
        for (index, tag) in plan.tags.iter().enumerate() {
            assert_eq!(plan.tag_index.get(tag.id), Some(index), "{} is there twice", tag.path);
        }
    }
    assert_eq!(first.alarm("A/One/Alarms/On").unwrap().nodes.first, second.alarm("A/One/Alarms/On").unwrap().nodes.first);
    assert_ne!(first.sources[0].fingerprint, second.sources[0].fingerprint, "the source has one tag more");
}

#[test]
fn a_path_that_was_another_tag_is_told() {
    let mut names = Names::default();
    names.intern(TagPath::new("A/One/Alarms/On/State").unwrap());
    let tag = "[[tag]]\npath = 'A/One'\ntype = 'Boolean'\n[[tag.alarm]]\nname = 'On'\n";
    let problems = load(&file(""), &file(tag), &[FAKE], LOADER, &mut names).unwrap_err();
    assert!(problems.list.iter().any(|problem| problem.help.contains("restart")), "{problems:?}");
}

#[test]
fn the_programs_own_tags_are_declared() {
    let config = file("[[user]]\nname = 'alice'\nphone = '+12223334444'\n[[source]]\nname = 'plc'\nkind = 'fake'\nurl = 'x'\n");
    let plan = load(&config, &file(""), &[FAKE], LOADER, &mut Names::default()).unwrap().plan;
    for (name, value_type) in [
        ("Twilio/MessagesSent", "Int32"),
        ("Twilio/CallMinutesReceived", "Int32"),
        ("Twilio/UserStatistics", "TwilioUserStatisticsType[]"),
        ("Twilio/UserStatistics/Columns/Username", "String[]"),
        ("Twilio/UserStatistics/Columns/CallsSent", "Int32[]"),
        ("Twilio/UserStatistics/Version", "UInt32"),
        ("Twilio/UserStatistics/Json", "String"),
        ("Twilio/Users/alice/MessagesSent", "Int32"),
        ("Twilio/OldestUnsentSeconds", "Double"),
        ("Sources/plc/Connected", "Boolean"),
        ("Alarming/InFlood", "Boolean"),
        ("StartTime", "DateTime"),
        ("Certificate/Expires", "DateTime"),
    ] {
        let tag = plan.system.get(name).and_then(|id| plan.tag(id)).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(tag.value_type.to_string(), value_type, "{name}");
        assert_eq!(*tag.path, *format!("System/Gateway/{name}"));
        assert!(matches!(tag.origin, Origin::System) && !tag.writable, "{name}");
    }
    for alarm in
        ["Sources/plc/Alarms/CommLoss", "Sources/plc/Alarms/TagsUnusable", "Alarms/TwilioFailed", "Alarms/CertificateExpiring"]
    {
        assert!(plan.alarm(&format!("System/Gateway/{alarm}")).is_some(), "{alarm}");
    }
}

/// Warnings for a pipeline whose only user is on duty as `schedule` says.
fn uncovered(schedule: &str) -> Vec<String> {
    with_roster(schedule, "'alice'", "")
}

const BOB: &str = "[[user]]\nname = 'bob'\nphone = '+12223330002'\npin = '4712'\nroles = ['operator']\n";

fn with_roster(schedule: &str, roster: &str, steps: &str) -> Vec<String> {
    let system = if schedule.contains("[alarms]") { "" } else { "[alarms]\nsystem_pipeline = 'p'\n" };
    let config = format!(
        "[[user]]\nname = 'alice'\nphone = '+12223334444'\npin = '4711'\nroles = ['operator']\ntime_zone = 'Europe/London'\n{schedule}
        [[roster]]\nname = 'r'\nusers = [{roster}]
        [[twilio]]\nname = 't'\naccount_sid = 'AC00000000000000000000000000000001'\nauth_token = 'x'\nfrom = '+15550001111'
        [[profile]]\nname = 'sms'\nkind = 'sms'\ntwilio = 't'
        [[pipeline]]\nname = 'p'\n[[pipeline.step]]\nnotify = {{ profile = 'sms', roster = 'r' }}
        {steps}{system}"
    );
    let now = "2026-11-16T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let plan = load(&file(&config), &file(""), &[FAKE], LOADER, &mut Names::default()).unwrap().plan;
    duty::warnings(&plan, now.into()).list.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn hours_without_anybody_on_duty_are_told() {
    assert!(uncovered("").is_empty());
    let schedule = |to: &str| {
        format!("schedule = 's'\n[[schedule]]\nname = 's'\nweekly = [{{ days = 'daily', from = '06:00', to = '{to}' }}]\n")
    };
    assert!(uncovered(&schedule("06:00")).is_empty());
    assert_eq!(
        uncovered(&schedule("18:00")),
        ["pipeline `p` has nobody on duty for 336 h of the next 28 days: \
          2026-11-16 18:00 to 2026-11-17 06:00 Europe/London (18:00 to 06:00 UTC); \
          2026-11-17 18:00 to 2026-11-18 06:00 Europe/London (18:00 to 06:00 UTC); \
          2026-11-18 18:00 to 2026-11-19 06:00 Europe/London (18:00 to 06:00 UTC); and 25 more"]
    );
}

#[test]
fn gaps_see_rotations_overrides_holidays_steps_and_the_fallback() {
    let days = "schedule = 'days'\n[[schedule]]\nname = 'days'\nweekly = [{ days = 'daily', from = '06:00', to = '18:00' }]\n";
    let more = |text: &str| uncovered(&format!("{days}{BOB}{text}"));
    // Bob, who is always on duty, covers alice for two nights: that changes nothing, her shifts count.
    assert_eq!(
        more("[[override]]\nuser = 'bob'\ncovers = 'alice'\nfrom = '2026-11-17T00:00'\nto = '2026-11-19T00:00'\n"),
        uncovered(days)
    );
    // On a holiday she is off duty by day too; whoever covers her is not.
    let holiday = "[[holiday]]\nname = 'h'\ndate = '2026-11-17'\n";
    let gap = |from: &str, to: &str| format!("{from} to {to} Europe/London");
    assert!(more(holiday)[0].contains(&gap("2026-11-16 18:00", "2026-11-18 06:00")), "{:?}", more(holiday));
    let covered =
        format!("{holiday}[[override]]\nuser = 'bob'\ncovers = 'alice'\nfrom = '2026-11-17T00:00'\nto = '2026-11-18T00:00'\n");
    assert_eq!(more(&covered), uncovered(days));
    // A later step counts.
    let step = "[[pipeline.step]]\ndelay = '1s'\n[[pipeline.step]]\nnotify = { profile = 'sms', roster = 'r2' }\n";
    assert!(with_roster(&format!("{days}{BOB}[[roster]]\nname = 'r2'\nusers = ['bob']\n"), "'alice'", step).is_empty());
    // A rotation in which bob has every second turn.
    let turns = "[[rotation]]\nname = 'turns'\nusers = ['alice', 'bob']\nperiod = 'daily'\nstart = '2026-11-16'\nhand_over = '12:00'\ntime_zone = 'Europe/London'\n";
    let rotating = with_roster(&format!("{days}{BOB}{turns}"), "'turns'", "");
    assert!(rotating[0].contains("168 h") && rotating[0].contains(&gap("2026-11-16 18:00", "2026-11-17 06:00")), "{rotating:?}");
    assert!(with_roster(&format!("{days}{BOB}{turns}"), "'turns', 'bob'", "").is_empty());
    // Somebody without a number for the channel covers nothing.
    let caller = BOB.replace("phone = '+12223330002'", "contacts = [{ voice = '+12223330002' }]");
    assert_eq!(with_roster(&format!("{days}{caller}"), "'alice', 'bob'", ""), uncovered(days));
    let fallback = more("[[roster]]\nname = 'f'\nusers = ['alice']\n[alarms]\nfallback = 'f'\nsystem_pipeline = 'p'\n#");
    assert!(
        fallback.len() == 2 && fallback[1].starts_with("the fallback roster `f` has nobody on duty for 336 h"),
        "{fallback:?}"
    );
    let over = more("[[override]]\nuser = 'bob'\ncovers = 'alice'\nfrom = '2026-11-01T00:00'\nto = '2026-11-02T00:00'\n");
    assert_eq!(over[1], "the override of `bob` covering `alice` is over: it ended on 2026-11-02T00:00:00Z");
}

/// In a configuration's own zone: New York has 01:30 twice on 2026-11-01, and no 02:30 on 2026-03-08.
#[test]
fn overrides_are_local_times() {
    let users = "[[user]]\nname = 'alice'\n[[user]]\nname = 'bob'\ntime_zone = 'America/New_York'\n";
    let read = |from: &str, to: &str, zone: &str| {
        let cover = format!("[[override]]\nuser = 'alice'\ncovers = 'bob'\nfrom = '{from}'\nto = '{to}'\n{zone}");
        let plan = load(&file(&format!("{users}{cover}")), &file(""), &[FAKE], LOADER, &mut Names::default()).unwrap().plan;
        (plan.overrides[0].from.to_string(), plan.overrides[0].until.to_string())
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(read("2026-11-01T01:30", "2026-11-01T01:30", ""), pair("2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"));
    assert_eq!(read("2026-03-08T02:30", "2026-03-09", ""), pair("2026-03-08T07:00:00Z", "2026-03-09T04:00:00Z"));
    assert_eq!(read("2026-03-08", "2026-03-09", "time_zone = 'UTC'"), pair("2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z"));
}

#[test]
fn a_text_read_in_parts_says_what_it_says_as_a_whole() {
    let tags = r#"
unti = 1
[[tag]]
path = "A/Level"
type = "Flaot"
[[tag]]
path = "A/Flow"
type = "Double"
range = [5.0, 1.0]
colour = "red"
[[tag.alarm]]
name = "High"
mode = "above"
setpoint = "tag(A/Leve)"
pipeline = "none"
  [[tag]] # indented
path = "A/Flow/Deep"
type = "Int16"
source = "plc"
[[tag]]
path = "A/Flow"
type = "Int16"
[[tag]]
path = "A/Sum"
type = "Double"
expression = "tag(\"A/Sum\") + 1.0"
[other]
x = 1
"#;
    let told = |text: &str| load(&[], &file(text), &[FAKE], LOADER, &mut Names::default()).unwrap_err().list;
    let parts = told(tags);
    assert!(parts.len() >= 11, "{parts:#?}");
    // What could be a text of several lines is not divided.
    assert_eq!(parts, told(&format!("{tags}# '''\n")));
    let inside =
        "[[tag]]\npath = \"B\"\ntype = \"String\"\ninitial = \"\"\"\n[[tag]]\n\"\"\"\n[[tag]]\npath = \"C\"\ntype = \"Int16\"\n";
    let plan = load(&[], &file(inside), &[FAKE], LOADER, &mut Names::default()).unwrap().plan;
    assert_eq!(plan.tags[..2].iter().map(|tag| &*tag.path).collect::<Vec<_>>(), ["B", "C"]);
    let Origin::Memory { initial } = &plan.tags[0].origin else { panic!("no memory tag") };
    assert_eq!(initial.to_string(), "[[tag]]\n");
}

#[test]
fn many_files_keep_their_order_and_a_reload_its_paths() {
    let tag = |file: usize, tag: usize| format!("[[tag]]\npath = 'F{file}/T{tag}'\ntype = 'Int16'\n");
    let text = |file: usize| (0..6_000).map(|number| tag(file, number)).collect::<Vec<_>>().concat();
    let files: Vec<File> = (0..3).map(|file| File { name: format!("{file}.toml"), text: text(file) }).collect();
    let mut names = Names::default();
    let first = load(&[], &files, &[FAKE], LOADER, &mut names).unwrap().plan;
    let second = load(&[], &files, &[FAKE], LOADER, &mut names).unwrap().plan;
    for (position, (one, two)) in first.tags.iter().zip(&second.tags).enumerate() {
        assert!(Arc::ptr_eq(&one.path.shared(), &two.path.shared()), "{}", one.path);
        assert_eq!((one.id, one.id.index()), (two.id, position));
        if position < 18_000 {
            assert_eq!(*one.path, *format!("F{}/T{}", position / 6_000, position % 6_000));
            assert_eq!(first.position(&one.path), Some(position));
        }
    }
    let traits: HashSet<_> = first.tags[..18_000].iter().map(|tag| Arc::as_ptr(&tag.traits)).collect();
    assert!(traits.len() <= 8, "each thread makes its own, once: {}", traits.len());
}

#[test]
fn a_hundred_thousand_tags_load() {
    use std::fmt::Write as _;
    let mut tags = String::new();
    for number in 0..100_000 {
        let _ = write!(
            tags,
            "[[tag]]\npath = 'Plant/Area{}/Tag{number}'\ntype = 'Int16'\nsource = 'plc'\naddress = '{number}'\n",
            number / 1000
        );
    }
    let config = file("[[source]]\nname = 'plc'\nkind = 'fake'\nurl = 'x'\n");
    let started = std::time::Instant::now();
    let plan = load(&config, &file(&tags), &[FAKE], LOADER, &mut Names::default()).unwrap().plan;
    assert!(plan.tags.len() > 100_000);
    println!("100,000 tags loaded in {:?}", started.elapsed());
}
