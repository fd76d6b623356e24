use super::*;
use crate::tag::Timestamp;

/// The plant of these tests: path, value, quality.
fn plant() -> Vec<(&'static str, Value, StatusCode)> {
    let good = StatusCode::GOOD;
    vec![
        ("Flow", Value::Float(2.5), good),
        ("Count", Value::Int16(7), good),
        ("Big", Value::UInt64(u64::MAX), good),
        ("On", Value::Boolean(true), good),
        ("Off", Value::Boolean(false), good),
        ("Mode", Value::string("auto"), good),
        ("List", Value::Array(DataType::Int16, [Value::Int16(4), Value::Int16(5)].into()), good),
        ("Time", Value::DateTime(Timestamp::from_ticks(1)), good),
        ("Doubt", Value::Double(1.0), StatusCode::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED),
        ("Held", Value::Double(1.0), StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
        ("Bad", Value::Null, StatusCode::BAD_SENSOR_FAILURE),
        ("Null", Value::Null, good),
        ("Füll/Stand", Value::Double(80.0), good),
    ]
}

fn resolve(path: &str) -> Option<TagId> {
    plant().iter().position(|(known, ..)| *known == path).map(|index| TagId(u32::try_from(index).unwrap()))
}

fn read(tag: TagId) -> Reading {
    let (_, value, status) = plant()[tag.index()].clone();
    Reading { value, status, ..Reading::default() }
}

fn compile(source: &str) -> Result<Expression, ExpressionError> {
    Expression::compile(source, &resolve)
}

#[test]
fn values_and_qualities() {
    let good = |source, value| (source, value, StatusCode::GOOD);
    let long = format!("{}1", "1 + ".repeat(20));
    let cases = [
        good("1 + 2 * 3", Value::Int64(7)),
        good("tag(\"Flow\") * 4", Value::Double(10.0)),
        good("tag ( \"Flow\" )*tag(\"Flow\")", Value::Double(6.25)),
        // Integers divide as in the PLC.
        good("tag(\"Count\") / 2", Value::Int64(3)),
        good("tag(\"Count\") / 2.0", Value::Double(3.5)),
        good("(tag(\"Count\") & 4) != 0", Value::Boolean(true)),
        good("get_bit(tag(\"Count\"), 3)", Value::Boolean(false)),
        good("tag(\"On\") && !tag(\"Off\")", Value::Boolean(true)),
        good("tag(\"Mode\") == \"auto\"", Value::Boolean(true)),
        good("tag(\"Mode\").starts_with(\"au\")", Value::Boolean(true)),
        good("\"tag(1) = 2; \\\" // `x`\"", Value::string("tag(1) = 2; \" // `x`")),
        good("if tag(\"Flow\") >= 2 { tag(\"Count\") } else { 0 }", Value::Int64(7)),
        good("max(tag(\"Flow\"), tag(\"Count\"))", Value::Double(7.0)),
        good("sqrt(16) + round(2.5) + abs(-1)", Value::Double(8.0)),
        good("tag(\"List\")[1] + tag(\"List\").len()", Value::Int64(7)),
        good("tag(\"Count\") in 5..9", Value::Boolean(true)),
        good("switch tag(\"Count\") { 7 => \"seven\", _ => \"other\" }", Value::string("seven")),
        good("0x1F + 1_000 + 0b11", Value::Int64(1034)),
        good("1e3 - 1.5e-1", Value::Double(999.85)),
        good("tag(\"Füll/Stand\") > 79.9", Value::Boolean(true)),
        good("tag(\"Big\") > 1e19", Value::Boolean(true)),
        good(&long, Value::Int64(21)),
        ("tag(\"Doubt\") + tag(\"Flow\")", Value::Double(3.5), StatusCode::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED),
        ("tag(\"Doubt\") + tag(\"Held\")", Value::Double(2.0), StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
        ("tag(\"Held\") + tag(\"Doubt\")", Value::Double(2.0), StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
        ("tag(\"Flow\") + tag(\"Bad\")", Value::Null, StatusCode::BAD_SENSOR_FAILURE),
        // An input that is not needed for the result makes it bad all the same: nobody should have to think about it.
        ("true || tag(\"Bad\")", Value::Null, StatusCode::BAD_SENSOR_FAILURE),
        ("tag(\"Null\") == 1", Value::Null, StatusCode::BAD),
        ("tag(\"Time\") == 1", Value::Null, StatusCode::BAD_TYPE_MISMATCH),
        ("tag(\"List\")", Value::Null, StatusCode::BAD_TYPE_MISMATCH),
        ("1 / (tag(\"Count\") - 7)", Value::Null, StatusCode::BAD),
        ("9223372036854775807 + tag(\"Count\")", Value::Null, StatusCode::BAD),
        ("tag(\"On\") + 1", Value::Null, StatusCode::BAD),
        ("tag(\"List\")[2]", Value::Null, StatusCode::BAD),
    ];
    for (source, value, status) in cases {
        let expression = compile(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        assert_eq!(expression.evaluate(&read), (value, status), "{source}");
        assert_eq!(expression.source(), source);
    }
}

#[test]
fn what_is_refused_and_where() {
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    let cases = [
        ("tag(\"Flw\") > 1", "\"Flw\"", "there is no tag `Flw`", ""),
        (
            "1 + tag(\"Fl\" + \"ow\")",
            "tag(\"Fl\"",
            "tag takes one fixed path and nothing else",
            "write tag(\"path\") with the path in quotes",
        ),
        ("tag(Flow)", "tag", "tag needs one fixed path", "write tag(\"path\") with the path in quotes"),
        ("tag", "tag", "tag needs one fixed path", "write tag(\"path\") with the path in quotes"),
        ("tag(\"Flow\") = 3", "=", "an expression assigns nothing", "compare with `==`"),
        ("tag(\"Flow\") += 3", "=", "an expression assigns nothing", "compare with `==`"),
        ("sqr(4)", "sqr", "`sqr` is not part of expressions", "did you mean `sqrt`?"),
        ("tag(\"On\") and tag(\"Off\")", "and", "`and` is not part of expressions", "write `&&`"),
        ("Flow > 1", "Flow", "`Flow` is not part of expressions", "a tag is written tag(\"path\")"),
        ("v0 + tag(\"Flow\")", "v0", "`v0` is not part of expressions", "a tag is written tag(\"path\")"),
        ("let x = 1", "let", "`let` is not part of expressions", ""),
        ("while true {}", "while", "`while` is not part of expressions", ""),
        ("fn f() { 1 }", "fn", "`fn` is not part of expressions", ""),
        ("eval(\"1\")", "eval", "`eval` is not part of expressions", ""),
        ("print(1)", "print", "`print` is not part of expressions", ""),
        ("sleep(5)", "sleep", "`sleep` is not part of expressions", ""),
        ("1; 2", ";", "an expression is one value, without `;`", "remove the `;`"),
        ("1 // one", "//", "comments are not part of expressions", "put it in a `#` line of the file"),
        ("`${1}`", "`", "backtick texts are not part of expressions", "write \"…\""),
        ("\"open", "\"open", "this text has no end", "close it with `\"` on the same line"),
        ("tag(\"Füll/Stand\") > )", ")", "", ""),
        ("tag(\"Flow\") >\n  tag(\"Count\") + )", ")", "", ""),
        (&deep, "(", "Expression exceeds maximum complexity", ""),
    ];
    for (source, at, message, help) in cases {
        let error = compile(source).err().unwrap_or_else(|| panic!("{source} was taken"));
        let span = error.span.clone().unwrap_or_else(|| panic!("{source}: no place in {error:?}"));
        assert_eq!(&source[span.clone()], at, "{source}: {error:?}");
        assert!(error.message.starts_with(message), "{source}: {error:?}");
        assert!(help.is_empty() || error.help == help, "{source}: {error:?}");
        if at == ")" {
            assert_eq!(span.start, source.rfind(')').unwrap(), "{source}");
        }
    }
    assert_eq!(compile("tag(\"Flw\")").unwrap_err().unknown_tag.as_deref(), Some("Flw"));
    assert!(compile(" \n").unwrap_err().message.contains("empty"));
    assert!(compile(&" ".repeat(MAX_SOURCE + 1)).unwrap_err().message.contains("4096"));
}

#[test]
fn texts_are_bounded() {
    let long = Value::string("x".repeat(MAX_TEXT - 10));
    let read = |_: TagId| Reading { value: long.clone(), ..Reading::default() };
    assert_eq!(compile("tag(\"Mode\").len()").unwrap().evaluate(&read).0, Value::Int64(65_526));
    assert_eq!(compile("tag(\"Mode\") + tag(\"Mode\")").unwrap().evaluate(&read), (Value::Null, StatusCode::BAD));
    assert!(compile("(|| 5)").is_err() && compile("#{}.len() == { 0 }").is_err(), "no closures, no blocks");
}

#[test]
fn inputs_are_named_once() {
    let expression = compile("tag(\"Flow\") + tag(\"Count\") + tag(\"Flow\")").unwrap();
    assert_eq!(expression.inputs(), [resolve("Flow").unwrap(), resolve("Count").unwrap()]);
    let many: Vec<_> = (0..=MAX_INPUTS).map(|index| format!("tag(\"{index}\")")).collect();
    let number = |path: &str| path.parse().ok().map(TagId);
    assert!(Expression::compile(&many.join("+"), &number).unwrap_err().message.contains("more than 64 tags"));
}

#[test]
fn derived_values_take_their_tags_type() {
    let ok = |source, wanted, value| (source, wanted, value, StatusCode::GOOD);
    let refused = |source, wanted, status| (source, wanted, Value::Null, status);
    let cases = [
        ok("tag(\"Flow\") * 3", DataType::Int16, Value::Int16(8)),
        ok("tag(\"Flow\") * 3", DataType::Float, Value::Float(7.5)),
        ok("tag(\"Count\")", DataType::Double, Value::Double(7.0)),
        ok("tag(\"Count\") > 3", DataType::Boolean, Value::Boolean(true)),
        ok("tag(\"Mode\") + \"!\"", DataType::String, Value::string("auto!")),
        refused("tag(\"Count\") * 100", DataType::Byte, StatusCode::BAD_OUT_OF_RANGE),
        refused("-1", DataType::UInt64, StatusCode::BAD_OUT_OF_RANGE),
        refused("1.0 / 0.0", DataType::Int32, StatusCode::BAD_OUT_OF_RANGE),
        refused("1e300", DataType::Float, StatusCode::BAD_OUT_OF_RANGE),
        refused("tag(\"Count\")", DataType::Boolean, StatusCode::BAD_TYPE_MISMATCH),
        refused("tag(\"On\")", DataType::Int16, StatusCode::BAD_TYPE_MISMATCH),
        refused("tag(\"Mode\")", DataType::Int16, StatusCode::BAD_TYPE_MISMATCH),
        refused("tag(\"Bad\")", DataType::Int16, StatusCode::BAD_SENSOR_FAILURE),
    ];
    for (source, wanted, value, status) in cases {
        assert_eq!(compile(source).unwrap().evaluate_as(&read, wanted), (value, status), "{source} as {wanted}");
    }
}
