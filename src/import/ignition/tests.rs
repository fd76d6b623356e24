use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    config::{File, Loaded, Loader, load, render::render},
    engine::plan::{AckMode, Mode, Origin, Setpoint},
    source,
    tag::Names,
};

const PLANT: &str = include_str!("fixtures/plant.json");

fn convert(text: &str, options: &Options) -> Import {
    import(&parse(text).unwrap(), options, &|_| {}).unwrap()
}

/// What `check` says of an import beside a small configuration.
fn checked(imported: &Import) -> Result<Loaded, String> {
    const SITE: &str = r#"
        [[twilio]]
        name = "main"
        account_sid = "AC00000000000000000000000000000000"
        auth_token = "0123456789abcdef0123456789abcdef"
        from = "+15550001111"
        [[profile]]
        name = "sms"
        kind = "sms"
        twilio = "main"
        [[user]]
        name = "alice"
        phone = "+12223334444"
        pin = "4711"
        roles = ["operator"]
        [[roster]]
        name = "operators"
        users = ["alice"]
    "#;
    let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
    let config = [file("site.toml", SITE), file("suggested.toml", &imported.suggestion(&[], &[]))];
    let tags = [file("imported.toml", &imported.tag_file)];
    let loader = Loader { env: &|_| None, read_file: &|_| Err("no files".to_owned()) };
    load(&config, &tags, &[source::opcua::DRIVER], loader, &mut Names::default())
        .map_err(|problems| format!("{}\n{}", render(&problems, false), imported.tag_file))
}

fn notes_of(imported: &Import, place: &str) -> Vec<String> {
    imported.notes.iter().filter(|note| note.place == place).map(|note| note.what.clone()).collect()
}

#[test]
fn a_plant_is_taken_over() {
    let imported = convert(PLANT, &Options::default());
    let plan = checked(&imported).unwrap().plan;
    let names: Vec<_> = imported.sources.iter().map(|source| (source.name.as_str(), source.tags)).collect();
    assert_eq!(names, [("ignition-opc-ua-server", 2), ("kepware", 1)]);
    assert_eq!(imported.pipelines, BTreeSet::from(["Callout".to_owned(), "Cleared".to_owned()]));

    let level = plan.tag_at("Line1/Level").unwrap();
    let scale = level.scale.as_ref().unwrap();
    assert_eq!((scale.raw, scale.eu, scale.clamp), ((0.0, 27648.0), (0.0, 100.0), true));
    assert_eq!((level.range, level.writable, level.history), (Some((0.0, 100.0)), false, true));
    assert_eq!(&*level.description, "Feed tank ${level}");
    let alarm = plan.alarm("Line1/Level/Alarms/HighHigh").unwrap();
    assert_eq!(alarm.pipeline.as_deref(), Some("Callout"));
    assert_eq!(alarm.clear_pipeline.as_deref(), Some("Cleared"));
    assert_eq!((alarm.deadband, alarm.on_delay.as_millis(), alarm.off_delay.as_secs()), (2.0, 2500, 10));
    assert!(!alarm.shelving);
    assert_eq!((alarm.data["SOP"].as_str(), alarm.data["displayPath"].as_str()), ("SOP-114", "Tank 1"));
    assert_eq!(alarm.message, "{{ alarm.data[\"displayPath\"] }} at {{ alarm.value }} {{ '{' }}unknown}");
    let Mode::Above(limit) = &alarm.mode else { panic!("{:?}", alarm.mode) };
    assert!(!limit.inclusive);
    let Mode::Above(limit) = &plan.alarm("Line1/Level/Alarms/Limit").unwrap().mode else { panic!() };
    let Setpoint::Expression(expression) = &limit.setpoint else { panic!() };
    assert_eq!((expression.source(), limit.inclusive), ("(tag(\"Line1/Limit\") * 0.9)", true));
    assert_eq!(plan.alarm("Line1/Level/Alarms/Quality").unwrap().ack_mode, AckMode::Auto);
    let Mode::Condition(condition) = &plan.alarm("Line1/Level/Alarms/Cond").unwrap().mode else { panic!() };
    assert_eq!(condition.source(), "((tag(\"Line1/Mode\") == \"Auto\") && (tag(\"Line1/Level\") > 5))");
    let Origin::Derived(half) = &plan.tag_at("Line1/Half").unwrap().origin else { panic!() };
    assert_eq!(half.source(), "(1.0 * tag(\"Line1/Limit\") / 2)");
}

#[test]
fn instances_of_udts_have_their_parameters_and_overrides() {
    let imported = convert(PLANT, &Options::default());
    let plan = checked(&imported).unwrap().plan;
    let address = |path: &str| {
        let (_, block) = imported.tag_file.split_once(&format!("path = \"{path}\"\n")).unwrap();
        block.lines().find_map(|line| line.strip_prefix("address = ")).unwrap().trim_matches('"').to_owned()
    };
    assert_eq!(address("South/P1/Speed"), "ns=1;s=[PLC9]Motor007.Speed");
    assert_eq!(address("South/P1/Fault"), "ns=1;s=[PLC9]Motor107.Fault");
    let Mode::Above(limit) = &plan.alarm("South/P1/Speed/Alarms/High").unwrap().mode else { panic!() };
    let Setpoint::Constant(limit) = &limit.setpoint else { panic!() };
    assert_eq!(limit.as_f64(), Some(2500.0), "the override's setpoint with the definition's mode");
    assert!((plan.alarm("South/P1/Speed/Alarms/High").unwrap().deadband - 30.0).abs() < 1e-9);
    let Origin::Derived(low) = &plan.tag_at("South/P1/Low").unwrap().origin else { panic!() };
    assert_eq!(low.source(), "((tag(\"South/P1/Flow\") < 5.5) && (!tag(\"South/P1/Fault\")))");
}

#[test]
fn what_is_not_taken_over_is_told_with_its_place() {
    let imported = convert(PLANT, &Options::default());
    for (place, expected) in [
        ("Line1/Level", "`tagGroup`: how often"),
        ("Line1/Level", "`historyProvider` has no equivalent"),
        ("Line1/Level", "`eventScripts`: scripts"),
        ("Line1/Level: alarm HighHigh", "`ackNotesReqd` true"),
        ("Line1/Level: alarm HighHigh", "{unknown} has no equivalent"),
        ("Line1/Level: alarm Limit", "\"Above Setpoint\" was taken for \"abovevalue\""),
        ("Line1/Level: alarm Quality", "`alarmMode` was taken"),
        ("Line1/Level: alarm Script", "`runscript` has no equivalent"),
        ("Line1/Level: alarm Text", "\"high\" is no number"),
        ("Line1/Level: alarm Off", "disabled"),
        ("Line1/Word: alarm Bit40", "has no bit 40"),
        ("Line1/Table", "\"DataSet\" has no equivalent"),
        ("Line1/Half", "`deriveExpressionSetter`"),
        ("Line1/Root", "\"SquareRoot\" has no equivalent"),
        ("Line1/Query", "a query tag"),
        ("Line1/A", "depends on itself"),
        ("Line1/B", "depends on itself"),
        ("Line1/OfQuery", "Query, which was left out"),
        ("Line1/Spare", "disabled"),
        ("South/P1/Speed: alarm High", "1 % became 30"),
        ("Lost", "\"Missing\" is not in the export"),
        ("(all)", "--writable"),
    ] {
        let found = notes_of(&imported, place);
        assert!(found.iter().any(|what| what.contains(expected)), "{place}: {expected}: {found:?}");
    }
}

#[test]
fn the_person_who_imports_decides() {
    let options = Options {
        under: "Site2".into(),
        sources: [("Kepware".to_owned(), "line2".to_owned())].into(),
        pipelines: [("Callout".to_owned(), "on-call".to_owned())].into(),
        writable: true,
    };
    let imported = convert(PLANT, &options);
    let plan = checked(&imported).unwrap().plan;
    assert!(plan.tag_at("Site2/Line1/Mode").unwrap().writable && !plan.tag_at("Site2/Line1/Level").unwrap().writable);
    assert_eq!(plan.alarm("Site2/Line1/Level/Alarms/HighHigh").unwrap().pipeline.as_deref(), Some("on-call"));
    assert!(imported.suggestion(&["line2".into()], &["on-call".into()]).contains("Cleared"));
    assert!(!imported.suggestion(&["line2".into()], &["on-call".into()]).contains("line2"));
    assert!(notes_of(&imported, "(all)").is_empty());
}

#[test]
fn every_envelope_is_opened() {
    let node = json!({ "name": "T", "tagType": "AtomicTag", "value": 1 });
    for text in [
        json!({ "name": "", "tagType": "Provider", "tags": [node] }).to_string(),
        json!({ "name": "default", "tagType": "Provider", "tags": [node] }).to_string(),
        json!({ "tags": [node] }).to_string(),
        json!([node]).to_string(),
        node.to_string(),
        format!("\u{feff}{node}"),
    ] {
        assert_eq!(
            convert(&text, &Options::default()).tag_file,
            "[[tag]]\npath = \"T\"\ntype = \"Int32\"\ninitial = 1\n\n",
            "{text}"
        );
    }
}

#[test]
fn files_that_are_no_export_say_what_they_are() {
    for (text, expected) in [
        ("<Tags/>", "XML, as Ignition 7"),
        ("{\"tags\": [{\"name\": \"T\", \"enabled\": True}]}", "looks like Python"),
        ("{\"tags\": 5}", "no tag export"),
        ("[1]", "no tag export"),
        ("5", "no tag export"),
        ("{", "not JSON"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let deep = format!("{}{}", "{\"name\":\"x\",\"tags\":[".repeat(500), "]}".repeat(500));
    assert!(parse(&deep).unwrap_err().contains("recursion limit"));
    let error = import(
        &parse("{\"tags\": [{\"name\": \"System\"}, {\"name\": \"Q\", \"dataType\": \"Document\"}]}").unwrap(),
        &Options::default(),
        &|_| {},
    );
    assert!(error.unwrap_err().contains("import with --under FOLDER"));
}

#[test]
fn definitions_without_end_are_bounded() {
    let itself = json!({ "tags": [
        { "name": "_types_", "tagType": "Folder", "tags": [
            { "name": "Loop", "tagType": "UdtType", "tags": [{ "name": "in", "tagType": "UdtInstance", "typeId": "Loop" }, { "name": "t" }] },
            { "name": "Own", "tagType": "UdtType", "typeId": "Own", "tags": [] },
        ] },
        { "name": "L", "tagType": "UdtInstance", "typeId": "Loop" },
        { "name": "O", "tagType": "UdtInstance", "typeId": "Own" },
    ] });
    let imported = convert(&itself.to_string(), &Options::default());
    assert_eq!(imported.tags, 1);
    assert!(notes_of(&imported, "L/in")[0].contains("contains itself"));
    assert!(notes_of(&imported, "O")[0].contains("extends itself"));

    let level = |name: &str, of: &str| {
        let members: Vec<_> = (0..8).map(|n| json!({ "name": n.to_string(), "tagType": "UdtInstance", "typeId": of })).collect();
        json!({ "name": name, "tagType": "UdtType", "tags": members })
    };
    let mut types: Vec<_> = (0..12).map(|n| level(&format!("T{n}"), &format!("T{}", n + 1))).collect();
    types.push(json!({ "name": "T12", "tagType": "UdtType", "tags": [] }));
    let bomb =
        json!({ "tags": [{ "name": "_types_", "tags": types }, { "name": "B", "tagType": "UdtInstance", "typeId": "T0" }] });
    let error = import(&parse(&bomb.to_string()).unwrap(), &Options::default(), &|_| {}).unwrap_err();
    assert!(error.contains("import fewer folders"), "{error}");
}

#[test]
fn tags_in_each_others_way_are_told() {
    let text = json!([
        { "name": "A", "value": 1 },
        { "name": "A", "value": 2 },
        { "name": "A", "tagType": "Folder", "tags": [{ "name": "B" }] },
        { "name": " C/D\u{1} ", "value": 3, "alarms": [{ "name": "x" }, { "name": "x" }] },
    ]);
    let imported = convert(&text.to_string(), &Options::default());
    checked(&imported).unwrap();
    assert_eq!(imported.tags, 2);
    assert!(imported.tag_file.contains("path = \"C_D_\""), "{}", imported.tag_file);
    assert_eq!(notes_of(&imported, "A"), ["a second tag of this path"]);
    assert!(notes_of(&imported, "A/B")[0].contains("below the tag A"));
    assert!(notes_of(&imported, "C_D_: alarm x")[0].contains("second alarm"));
}

#[test]
fn the_folder_of_ignition_8_3_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, json: Json| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json.to_string()).unwrap();
    };
    write("udts.json", json!([{ "name": "Motor", "tagType": "UdtType", "tags": [{ "name": "On", "dataType": "Boolean" }] }]));
    write("tags.json", json!([{ "name": "Top", "value": 1 }]));
    write("Line1/tags.json", json!({ "tags": [{ "name": "M1", "tagType": "UdtInstance", "typeId": "Motor" }] }));
    write("Line1/resource.json", json!({}));
    write("Line1/other.json", json!({}));
    let imported = import(&read(folder.path()).unwrap(), &Options::default(), &|_| {}).unwrap();
    checked(&imported).unwrap();
    assert!(imported.tag_file.contains("\"Top\"") && imported.tag_file.contains("\"Line1/M1/On\""), "{}", imported.tag_file);
    assert!(imported.notes.iter().any(|note| note.place.ends_with("other.json")), "{:?}", imported.notes);
    assert!(read(&folder.path().join("none")).unwrap_err().contains("none"));
    assert!(read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import").as_path()).unwrap_err().contains("neither tags.json"));
}

/// 50,000 tags with as many alarms, timed: `cargo test --release --lib import::ignition::tests::large -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn large() {
    let member = |n: usize| {
        json!({ "name": format!("Value{n}"), "valueSource": "opc", "dataType": "Float4", "tagGroup": "Fast",
            "opcItemPath": { "bindType": "parameter", "binding": format!("ns=1;s=[PLC]Unit{{Unit}}.Value{n}") },
            "alarms": [{ "name": "High", "mode": "AboveValue", "setpointA": 90, "activePipeline": "Callout" }] })
    };
    let members: Vec<_> = (0..20).map(member).collect();
    let mut nodes = vec![json!({ "name": "_types_", "tags": [{ "name": "Unit", "tagType": "UdtType", "tags": members }] })];
    nodes.extend(
        (0..2500).map(|n| json!({ "name": format!("Unit{n}"), "typeId": "Unit", "parameters": { "Unit": { "value": n } } })),
    );
    let text = json!({ "tags": nodes }).to_string();
    let start = std::time::Instant::now();
    let imported = convert(&text, &Options::default());
    println!("import: {:?}", start.elapsed());
    assert_eq!((imported.tags, imported.alarms), (50_000, 50_000));
    let start = std::time::Instant::now();
    checked(&imported).unwrap();
    println!("check: {:?}", start.elapsed());
}

/// What an expression becomes; errors begin with an exclamation mark.
fn translated(source: &str) -> String {
    let kinds = |path: &str| match path {
        "L/Int" => Some(formula::Kind::Whole),
        "L/Float" => Some(formula::Kind::Real),
        "L/Bit" | "Bit" => Some(formula::Kind::Truth),
        "L/Text" => Some(formula::Kind::Text),
        _ => None,
    };
    let tags = formula::Tags { kind: &kinds, ours: &|path| path.to_owned(), here: "L/Here" };
    formula::translate(source, &tags).map_or_else(|why| format!("!{why}"), |formula| formula.text)
}

#[test]
fn expressions_mean_the_same_or_are_refused() {
    for (source, expected) in [
        ("{[.]Int} / 2", "(1.0 * tag(\"L/Int\") / 2)"),
        ("{[.]Int} * 2 + 1", "((tag(\"L/Int\") * 2) + 1)"),
        ("{[.]Bit} = 1", "tag(\"L/Bit\")"),
        ("0 != {[.]Bit}", "tag(\"L/Bit\")"),
        ("{[.]../Bit}", "tag(\"Bit\")"),
        ("{[~]L/Float} > 5.0 || !{[default]L/Bit}", "((tag(\"L/Float\") > 5.0) || (!tag(\"L/Bit\")))"),
        ("if({[.]Bit}, 1, 2.5)", "(if tag(\"L/Bit\") { (1.0 * 1) } else { 2.5 })"),
        ("max({[.]Int}, 3)", "max(tag(\"L/Int\"), 3)"),
        ("{[.]Int} && true // note", "((tag(\"L/Int\") != 0) && true)"),
        ("{[.]Text} + ' end'", "(tag(\"L/Text\") + \" end\")"),
        ("2 ^ {[.]Int}", "((1.0 * 2) ** (1.0 * tag(\"L/Int\")))"),
        ("-{[.]Float}", "(-tag(\"L/Float\"))"),
    ] {
        assert_eq!(translated(source), expected, "{source}");
    }
    for source in [
        "{[.]Bit} = 2",
        "{[.]Text} > 5",
        "{[.]Text} + 5",
        "{[.]None}",
        "{[System]Gateway/CurrentDateTime}",
        "{[.]Int.Quality}",
        "now()",
        "runScript('f', 0)",
        "1 +",
        "(1",
        "1 2",
        "{[.]../../Bit}",
        "",
        "\"open",
        "{open",
        "dateDiff({[.]Int}, 1, 'sec')",
    ] {
        assert!(translated(source).starts_with('!'), "{source}: {}", translated(source));
    }
    assert!(translated(&"(".repeat(5000)).starts_with('!'));
    assert!(translated(&"!".repeat(5000)).starts_with('!'));
}

fn anything() -> impl Strategy<Value = Json> {
    let texts = prop_oneof![
        "[ -~]{0,12}",
        Just("${HOME}".to_owned()),
        Just("{{ alarm.x }}".to_owned()),
        Just("{[.]T0} + 1".to_owned()),
        Just("a\u{7f}\n\"\\é".to_owned()),
        Just("tag(\"x\")".to_owned()),
    ];
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1000..1000i64).prop_map(Json::from),
        any::<f64>().prop_filter("JSON", |number| number.is_finite()).prop_map(Json::from),
        texts.prop_map(Json::from),
        "[ -~]{0,12}".prop_map(|text| json!({ "bindType": "Expression", "value": text })),
        Just(json!({ "bindType": "Expression", "value": "{[.]T1}" })),
        Just(json!({ "bindType": "parameter", "binding": "{P}" })),
    ]
}

fn table(keys: &'static [(&'static str, &'static [&'static str])]) -> impl Strategy<Value = Json> {
    let pairs = proptest::collection::vec(
        (0..keys.len(), any::<proptest::sample::Index>(), anything(), any::<bool>()).prop_map(move |(key, word, value, free)| {
            let (key, words) = keys[key];
            let value = if words.is_empty() || free { value } else { Json::from(words[word.index(words.len())]) };
            (key.to_owned(), value)
        }),
        0..10,
    );
    pairs.prop_map(|pairs| Json::Object(pairs.into_iter().collect()))
}

const TAG: &[(&str, &[&str])] = &[
    ("valueSource", &["opc", "memory", "expr", "derived", "reference", "db"]),
    (
        "dataType",
        &[
            "Int1",
            "Int2",
            "Int4",
            "Int8",
            "Float4",
            "Float8",
            "Boolean",
            "String",
            "DateTime",
            "Int4Array",
            "StringArray",
            "DataSet",
        ],
    ),
    ("opcItemPath", &["ns=1;s=[PLC]X", "[PLC]Y", "nsu=urn:x;s=y", "i=5"]),
    ("opcServer", &["Ignition OPC UA Server", "a/b", "Ä", "a-b"]),
    ("value", &["x", "1", "true"]),
    ("expression", &["{[.]T0} > 1", "1", "true", "{[.]T1} / {[.]T2}", "'x'"]),
    ("sourceTagPath", &["[.]T0", "[.]T1", "T2"]),
    ("scaleMode", &["Off", "Linear", "SquareRoot"]),
    ("rawLow", &[]),
    ("rawHigh", &[]),
    ("scaledHigh", &[]),
    ("clampMode", &["Clamp_Both", "Clamp_Low"]),
    ("engLow", &[]),
    ("engHigh", &[]),
    ("engUnit", &["%"]),
    ("deadband", &[]),
    ("deadbandMode", &["Percent", "Off"]),
    ("readOnly", &[]),
    ("documentation", &[]),
    ("historyEnabled", &[]),
    ("typeId", &["U", "V"]),
    ("tagType", &["AtomicTag", "UdtInstance", "Folder", "Odd"]),
];

const ALARM: &[(&str, &[&str])] = &[
    (
        "mode",
        &[
            "Equality",
            "Inequality",
            "AboveValue",
            "BelowValue",
            "BetweenValues",
            "OutsideValues",
            "OutOfEngRange",
            "BadQuality",
            "AnyChange",
            "Bit",
            "OnCondition",
            "WhenTrue",
            "WhenFalse",
            "Equal",
            "Odd",
        ],
    ),
    ("name", &["High", "Low", "a/b", "x"]),
    ("setpointA", &["5", "tag(\"T0\")"]),
    ("setpointB", &["50"]),
    ("inclusiveA", &[]),
    ("deadband", &[]),
    ("deadbandMode", &["Percent"]),
    ("bitPosition", &[]),
    ("activeCondition", &[]),
    ("timeOnDelaySeconds", &[]),
    ("timeOffDelaySeconds", &[]),
    ("priority", &["High", "4"]),
    ("ackMode", &["Unused", "Auto"]),
    ("activePipeline", &["P/Call", "a{b}", " "]),
    ("clearPipeline", &["Cleared"]),
    ("ackPipeline", &["Acked"]),
    ("label", &[]),
    ("CustomSmsMessage", &["{name} {x} {{ y", "{% if %}"]),
    ("Area", &[]),
    ("{odd} key\u{7f}", &[]),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_imported_passes_check(
        tags in proptest::collection::vec((table(TAG), proptest::collection::vec(table(ALARM), 0..4), 0..6usize), 1..8),
        under in prop_oneof![Just(""), Just("Site"), Just("A b")],
        writable: bool,
    ) {
        let mut nodes: Vec<Json> = tags.into_iter().map(|(mut node, alarms, name)| {
            node["name"] = format!("T{name}").into();
            node["alarms"] = alarms.into();
            node
        }).collect();
        let members = nodes.clone();
        nodes.push(json!({ "name": "_types_", "tagType": "Folder", "tags": [
            { "name": "U", "tagType": "UdtType", "parameters": { "P": { "value": "${x}" } }, "tags": members },
        ] }));
        nodes.push(json!({ "name": "Inst", "tagType": "UdtInstance", "typeId": "U", "parameters": { "P": { "value": 5 } } }));
        nodes.push(json!({ "name": "Good", "value": 1 }));
        let options = Options { under: under.to_owned(), writable, ..Options::default() };
        let imported = import(&parse(&Json::Array(nodes).to_string()).unwrap(), &options, &|_| {}).unwrap();
        let loaded = checked(&imported);
        prop_assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
        let plan = loaded.unwrap().plan;
        let own = plan.tags.iter().filter(|tag| !matches!(tag.origin, Origin::System)).count();
        prop_assert_eq!(own, imported.tags);
    }
}
