use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    config::reader::{Loader, read_text},
    engine::{
        random::Random,
        template::operations::{Kinds, MAX_TEXT, apply},
    },
};

/// The chain in `text`, written as the value of a key, and all problems with it.
fn read(text: &str, input: Shape) -> (Vec<Operation>, Vec<String>) {
    let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files".into()) };
    let (operations, problems) = read_text("test.toml", &format!("x = {text}"), loader, |section| chain(section, "x", input).0);
    (operations, problems.list.into_iter().map(|problem| problem.message).collect())
}

fn table() -> Vec<[String; 5]> {
    let page = include_str!("../../../docs/operations.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = rows.filter(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<String> = line.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|_| panic!("not five cells: {line}"))
    });
    cells.collect()
}

fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell)
}

#[test]
fn every_row_of_the_page_is_true() {
    let rows = table();
    let mut wrong = Vec::new();
    for [name, arguments, input, output, error] in &rows {
        let value: Json = serde_json::from_str(code(input)).unwrap_or_else(|problem| panic!("{name} {input}: {problem}"));
        let comma = if arguments.is_empty() { "" } else { ", " };
        let text = format!("[{{ type = \"{name}\"{comma}{} }}]", code(arguments));
        let (operations, problems) = read(&text, Shape::ANY);
        let (_, with_types) = read(&text, Shape::of_value(&value));
        let found = match problems.first() {
            Some(problem) => Err(problem.clone()),
            None => apply(&operations, value, Random::new(7)),
        };
        let right = match (&found, output.strip_prefix("from ").and_then(|range| range.split_once(" to "))) {
            (Ok(found), Some((low, high))) => {
                (low.parse().unwrap()..high.parse().unwrap()).contains(&found.as_f64().unwrap()) && with_types.is_empty()
            }
            (Ok(found), None) => {
                let expected: Option<Json> = serde_json::from_str(code(output)).ok();
                // Integers and floating-point numbers look different in a message: they are told apart.
                expected.is_some_and(|expected| expected == *found) && with_types.is_empty()
            }
            (Err(problem), _) => problem == error || with_types.first() == Some(error),
        };
        if !right || output.is_empty() == error.is_empty() {
            wrong.push(format!("{name} {arguments} {input}: {found:?} {with_types:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in NAMES {
        let of_it: Vec<_> = rows.iter().filter(|row| row[0] == name).collect();
        assert!(of_it.len() >= 3, "{name} has too few rows");
        assert!(of_it.iter().any(|row| row[2] == "`null`"), "{name} has no row with an unknown value");
        assert!(of_it.iter().any(|row| !row[4].is_empty()), "{name} has no row with an error");
    }
}

#[test]
fn bounds_hold() {
    let deep = |depth: usize| {
        let inner = "{ type = \"ToString\" }".to_owned();
        let nested = (0..depth).fold(inner, |inner, _| format!("{{ type = \"SequenceApply\", operations = [{inner}] }}"));
        format!("[{nested}]")
    };
    assert_eq!(read(&deep(MAX_NESTING - 1), Shape::ANY).1, [""; 0]);
    assert_eq!(read(&deep(MAX_NESTING), Shape::ANY).1, ["operations are nested more than 4 deep"]);
    let long = |length: usize| format!("[{}]", vec!["{ type = \"ToString\" }"; length].join(", "));
    assert_eq!(read(&long(MAX_CHAIN), Shape::ANY).1, [""; 0]);
    assert_eq!(read(&long(MAX_CHAIN + 1), Shape::ANY).1, ["a chain has at most 16 operations"]);
    let failure = |text: &str, value: Json| apply(&read(text, Shape::ANY).0, value, Random::new(1)).unwrap_err();
    let many: Json = vec![1; MAX_ELEMENTS].into();
    assert_eq!(failure("[]", many.clone()), "the value has more than 10000 elements");
    assert_eq!(failure("[]", "a".repeat(MAX_TEXT + 1).into()), "the text is longer than 16384 bytes");
    assert_eq!(
        failure("[{ type = \"StringToUpperCase\" }]", "\u{df}\u{149}".repeat(MAX_TEXT / 4).into()),
        "StringToUpperCase gives a text of more than 16384 bytes"
    );
    let many: Json = vec![1; MAX_ELEMENTS - 1].into();
    let busy = format!("[{{ type = \"SequenceApply\", operations = {} }}]", long(12));
    let busy = failure(&busy, many);
    assert!(busy.starts_with("SequenceApply at element") && busy.ends_with("needs more than 100000 steps"), "{busy}");
}

#[test]
fn chains_that_cannot_fit_are_told_with_types() {
    let numbers = Shape::sequence(Kinds::NUMBER.into());
    let cases = [
        ("[{ type = 'NumberRound' }]", Shape::from(Kinds::TEXT), "NumberRound needs a number, and is given a text"),
        ("[{ type = 'ToString' }, { type = 'Multiply', other = 2 }]", Shape::ANY, "Multiply needs a number, and is given a text"),
        ("[{ type = 'NumberRound' }]", numbers.clone(), "NumberRound needs a number, and is given a sequence of numbers"),
        (
            "[{ type = 'SequenceApply', operations = [{ type = 'StringToLowerCase' }] }]",
            numbers.clone(),
            "StringToLowerCase needs a text, and is given a number",
        ),
        (
            "[{ type = 'SequenceMap', lookup_table = { a = 'b' } }, { type = 'NumericSequenceAggregate', function = 'sum' }]",
            Shape::ANY,
            "NumericSequenceAggregate needs a sequence of numbers, and is given a sequence of texts",
        ),
        (
            "[{ type = 'Filter', filter_operation = { statements = [{ comparator = 'Exists', operations = [{ type = 'ToBoolean' }, { type = 'Sort' }] }] } }]",
            numbers,
            "Sort needs a sequence, and is given a Boolean",
        ),
        (
            "[{ type = 'SequenceLength' }]",
            Kinds::NUMBER.into(),
            "SequenceLength needs a sequence or a structure, and is given a number",
        ),
    ];
    for (text, input, expected) in cases {
        assert_eq!(read(text, input).1, [expected], "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (-5_i64..5).prop_map(Json::from),
        "\\PC{0,8}|[0-9.]{1,4}|2026-1[0-9]-0[1-9]T00:00:00Z".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

const EXAMPLES: [&str; 28] = [
    "{ type = 'ToString' }",
    "{ type = 'ToNumber' }",
    "{ type = 'ToNumber', cast_to = 'int' }",
    "{ type = 'ToBoolean' }",
    "{ type = 'NumberRound', decimal_digits = -15 }",
    "{ type = 'NumberRound', decimal_digits = 15 }",
    "{ type = 'Multiply', other = 1e15 }",
    "{ type = 'Divide', other = 0.001 }",
    "{ type = 'StringToLowerCase' }",
    "{ type = 'StringToUpperCase' }",
    "{ type = 'StringMatches', regex = '[0-9]+' }",
    "{ type = 'StringSubSequence', start = -9223372036854775808, end = 9223372036854775807 }",
    "{ type = 'SequenceLength' }",
    "{ type = 'SequenceElementsCount' }",
    "{ type = 'SequenceMap', lookup_table = { a = 1 }, default = 'b' }",
    "{ type = 'SequenceApply', operations = [{ type = 'ToString' }] }",
    "{ type = 'SequenceAggregate', mode = 'most_common' }",
    "{ type = 'NumericSequenceAggregate', function = 'mean' }",
    "{ type = 'NumericSequenceAggregate', function = 'sum' }",
    "{ type = 'LookupTable', lookup_table = { a = 1 }, default = 'b' }",
    "{ type = 'PropertyExtract', property_name = 'a', default = 1 }",
    "{ type = 'Filter', filter_operation = { statements = [{ comparator = '(Number) >', value = 1 }] } }",
    "{ type = 'Sort' }",
    "{ type = 'Select', mode = 'max', property_name = 'a' }",
    "{ type = 'Rename', property_map = { a = 'b', b = 'a' }, strict = false }",
    "{ type = 'TimestampToISOFormat', time_zone = 'Europe/London' }",
    "{ type = 'ConvertDictionaryToJSON' }",
    "{ type = 'RandomNumber', min_value = -1e15, max_value = 1e15 }",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in: no panic, the same result again, and `check` refuses nothing that would have worked.
    #[test]
    fn chains_are_pure_and_types_are_sound(value in any_value(), chosen in prop::collection::vec(0..EXAMPLES.len(), 1..4)) {
        let text = format!("[{}]", chosen.iter().map(|place| EXAMPLES[*place]).collect::<Vec<_>>().join(", "));
        let (operations, problems) = read(&text, Shape::ANY);
        let result = apply(&operations, value.clone(), Random::new(1));
        prop_assert_eq!(&result, &apply(&operations, value.clone(), Random::new(1)));
        let (_, with_types) = read(&text, Shape::of_value(&value));
        // Unknown values go through everything, and empty sequences through most.
        let known = !value.is_null() && !value.to_string().contains("[]") && !value.to_string().contains("null");
        // So do sequences that a filter has emptied; what a property holds is not known before.
        let known = known && !text.contains("'Filter'") && !text.contains("'PropertyExtract'");
        if let (Ok(result), true) = (result, known) {
            prop_assert!(result.is_null() || result == Json::Array(vec![]) || with_types == problems, "{:?}", with_types);
        }
    }
}
