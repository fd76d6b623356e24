use std::collections::BTreeMap;

use super::{operations::Operation, *};
use crate::{
    engine::{
        plan::{Parameter, ParameterSource, Priority},
        random::Random,
    },
    tag::{TagId, Value},
};

fn parameter(source: ParameterSource) -> Parameter {
    Parameter { source, operations: Vec::new() }
}

fn with_context<T>(then: impl FnOnce(&Context<'_>) -> T) -> T {
    let value = Value::Float(81.3);
    let data = BTreeMap::from([("sop".to_owned(), "SOP-114".to_owned())]);
    let parameters = BTreeMap::from([
        ("level".to_owned(), parameter(ParameterSource::Tag(TagId(7)))),
        ("urgency".to_owned(), parameter(ParameterSource::AlarmField("priority".into()))),
        ("line".to_owned(), parameter(ParameterSource::Constant("Line 1".into()))),
    ]);
    let read = |name: TagName<'_>| match name {
        TagName::Path("Plant/Flow") => Some(Value::Double(12.345)),
        TagName::Path("Plant/Next") => Some(Value::string("Plant/Flow")),
        TagName::Path("Plant/Bits") => Some(Value::Array(crate::tag::DataType::Int16, [Value::Int16(3), Value::Int16(4)].into())),
        TagName::Id(TagId(7)) => Some(Value::Int32(42)),
        _ => None,
    };
    then(&Context {
        subject: Subject::Alarm(AlarmText {
            path: "Plant/Tank/Level/Alarms/HighHigh",
            name: "HighHigh",
            tag: "Plant/Tank/Level",
            value: &value,
            unit: "%",
            priority: Priority::Critical,
            state: "ActiveUnacked",
            message: "Level high high",
            active_time: "2026-11-20T20:05:33Z".parse::<jiff::Timestamp>().unwrap().into(),
            event: None,
            data: &data,
            code: "K7M",
        }),
        user: "alice",
        time_zone: Some("America/Chicago"),
        site: "Works 2",
        parameters: &parameters,
        chance: Random::new(7),
        read: &read,
    })
}

#[test]
fn templates_speak_of_the_alarm() {
    let cases = [
        ("plain {text} 100 %", "plain {text} 100 %"),
        (
            "{{ alarm.priority | upper }} {{ alarm.path }}: {{ alarm.message }} ({{ alarm.value }} {{ alarm.unit }})",
            "CRITICAL Plant/Tank/Level/Alarms/HighHigh: Level high high (81.3 %)",
        ),
        ("{{ alarm.value | round }} {{ (alarm.value * 2) | round(1) }}", "81.0 162.6"),
        ("{{ alarm.value | int }}", "81"),
        ("{{ site }}/{{ site.name }} {{ user }}={{ user.name | upper }}", "Works 2/Works 2 alice=ALICE"),
        (
            "{{ alarm.active_time }} {{ alarm.active_time | time }} {{ alarm.active_time | time('%d.%m.') }}",
            "2026-11-20 14:05:33 14:05 20.11.",
        ),
        ("{{ alarm.data.sop }} {{ alarm.data.none }} {{ alarm.data['none'] | default('-') }}", "SOP-114 ? -"),
        ("{{ tags['Plant/Flow'] | round(2) }} m3/h", "12.35 m3/h"),
        ("{{ tags[\"No/Such\"] }} {{ tags['No/Such'] | default('none') }}", "? none"),
        ("{{ tags[tags['Plant/Next']] | int }} {{ tags['Plant/Bits'][1] }}", "12 4"),
        ("{% if alarm.value > 80 %}high{% else %}low{% endif %}", "high"),
        (
            "{{ $parameters.level }} {{$parameters.urgency|upper}} {{ $parameters.line }} {{ $parameters.none }}",
            "42 CRITICAL Line 1 ?",
        ),
        ("costs $parameters {{ '$parameters' }}", "costs $parameters $parameters"),
        ("{{ 'a' ~ '\\n\\n\\tb' }}", "a\nb"),
        ("#{{ alarm.code }}{# hidden #}", "#K7M"),
        ("{{ '<b>&' }}", "<b>&"),
    ];
    with_context(|context| {
        for (source, expected) in cases {
            assert_eq!(render(source, context).as_deref(), Ok(expected), "{source}");
            check(source, For::Alarm).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
    });
}

#[test]
fn parameters_go_through_their_operations() {
    let structure = serde_json::json!([{ "n": 1 }, { "n": 2.5 }]);
    let with = |source: ParameterSource, operations: &[Operation]| Parameter { source, operations: operations.to_vec() };
    let random = [Operation::RandomNumber { min_value: 1.0, max_value: 9.0 }];
    let parameters = BTreeMap::from([
        ("sop".to_owned(), with(ParameterSource::AlarmField("data.sop".into()), &[Operation::StringToLowerCase])),
        ("event".to_owned(), with(ParameterSource::AlarmField("event_id".into()), &[])),
        ("rounded".to_owned(), with(ParameterSource::AlarmField("value".into()), &[Operation::NumberRound(0)])),
        ("list".to_owned(), with(ParameterSource::Constant(structure), &[])),
        ("unknown".to_owned(), with(ParameterSource::Tag(TagId(1)), &[Operation::StringToLowerCase])),
        ("wrong".to_owned(), with(ParameterSource::Constant("a".into()), &[Operation::NumberRound(0)])),
        ("chance".to_owned(), with(ParameterSource::Constant("a".into()), &random)),
        ("other".to_owned(), with(ParameterSource::Constant("a".into()), &random)),
    ]);
    with_context(|context| {
        let context = Context { parameters: &parameters, chance: context.chance.clone(), ..*context };
        let mut problems = Vec::new();
        let mut render = |source: &str| render_noting(source, &context, &mut problems).unwrap();
        assert_eq!(render("{{ $parameters.sop }} {{ $parameters.rounded }} {{ $parameters.event }}"), "sop-114 81");
        assert_eq!(render("{{ $parameters.list[1].n }} {{ $parameters.list | length }}"), "2.5 2");
        assert_eq!(render("{{ $parameters.unknown }} {{ $parameters.unknown | default('-') }}"), "? -");
        let twice = "{{ $parameters.chance }} {{ $parameters.chance }}";
        let (first, second) = (render(twice), render(twice));
        assert_eq!(first, second, "the same chance gives the same number");
        let (a, b) = first.split_once(' ').unwrap();
        assert_eq!(a, b, "one message says one number");
        assert_ne!(render("{{ $parameters.other }}"), a);
        assert_eq!(problems, []);
        let mut problems = Vec::new();
        let text = render_noting("{{ $parameters.wrong }}: {{ alarm.name }}", &context, &mut problems).unwrap();
        assert_eq!(text, "?: HighHigh", "a failing parameter costs no more than itself");
        let words: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(words, ["parameter `wrong`: NumberRound needs a number, found the text \"a\""]);
    });
}

#[test]
fn events_have_properties_and_no_alarm() {
    let properties = serde_json::json!({ "order": 17, "items": [{ "name": "valve" }] });
    let parameters = BTreeMap::from([("order".to_owned(), parameter(ParameterSource::Property("order".into())))]);
    with_context(|context| {
        let subject = Subject::Event { name: "Order Completed", properties: &properties };
        let context = Context { subject, parameters: &parameters, chance: context.chance.clone(), ..*context };
        let source =
            "{{ event }} {{ properties.order }} {{ properties.items[0].name }} {{ properties.none }} {{ $parameters.order }}";
        assert_eq!(render(source, &context).as_deref(), Ok("Order Completed 17 valve ? 17"));
        assert_eq!(check(source, For::Event), Ok(()));
        assert!(check("{{ alarm.path }}", For::Event).unwrap_err().message.starts_with("application events know no alarm"));
        assert!(check(source, For::Alarm).unwrap_err().message.starts_with("unknown name"));
    });
}

#[test]
fn mistakes_are_told_with_their_line() {
    let cases = [
        ("", 1, "the text is empty"),
        ("a\n{{ alarm.path", 2, "syntax error: unexpected end of input, expected end of variable block"),
        ("a\nb {{ alarm.prioritty }}", 2, "unknown field `alarm.prioritty`, did you mean `alarm.priority`?"),
        ("{{ user.phone }}", 1, "unknown field `user.phone`, there is only `user.name`"),
        ("{{ alarn.path }}", 1, "unknown name `alarn`, expected `alarm`, `user`, `site`, `tags[\"path\"]` or `$parameters.name`"),
        ("{{ alarm }}", 1, "`alarm` needs a field, such as `alarm.path`"),
        ("{% if false %}{{ alarm.path | uper }}{% endif %}", 1, "unknown filter `uper`, did you mean `upper`?"),
        ("{% macro a() %}{% endmacro %}", 1, "messages do not have `macro`"),
        ("{% include 'x' %}", 1, "messages do not have `include`"),
    ];
    for (source, line, message) in cases {
        let error = check(source, For::Alarm).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (line, message), "{source}");
    }
    let error = check("a\nb {{ alarm.prioritty }}", For::Alarm).unwrap_err();
    assert_eq!(error.span, Some(13..22));
    assert!(check(&"x".repeat(MAX_SOURCE + 1), For::Alarm).is_err());
}

#[test]
fn a_failing_template_does_not_cost_the_message() {
    let endless = "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}";
    let huge = "{{ 'x' * 20000 }}";
    with_context(|context| {
        for source in
            ["{{ alarm.path", "{{ alarm.path * 2.5 }}", "{{ alarm.none.none }}", "{{ x | nofilter }}", endless, huge, "{{ '' }}"]
        {
            let (text, problems) = render_or_fallback(source, context);
            assert_eq!(text, "CRITICAL Plant/Tank/Level/Alarms/HighHigh (81.3 %)", "{source}");
            assert_eq!(problems.len(), 1, "{source}: {problems:?}");
        }
    });
}

#[test]
fn references_are_found() {
    let found =
        references("{{ tags['a/b'] + tags[ \"c d\" ] }} {{ $parameters.level }} {% if $parameters.x.y %}{% endif %} tags['no");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(found, References { tags: names(&["a/b", "c d"]), parameters: names(&["level", "x"]) });
}
