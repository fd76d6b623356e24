//! Filters as clients send them: every operator, every null rule, and what must be refused.

use super::{
    super::{
        limits::Limits,
        ns0::attribute,
        wire::{Extension, Id, Reader as Bytes, Writer},
    },
    base::Base,
    clause::status as clauses,
    content::status as content,
    filter::{EventFilter, Refused, status},
    *,
};
use crate::tag::Timestamp;

const ELEMENT: u32 = 594;
const LITERAL: u32 = 597;
const ATTRIBUTE: u32 = 600;
const SIMPLE: u32 = 603;

/// An operand as it travels.
type Operand = (u32, Vec<u8>);

fn simple(of: u32, path: &str, attribute: u32, range: &str) -> Vec<u8> {
    let mut w = Writer::default();
    w.standard(of);
    let names: Vec<&str> = path.split('/').filter(|name| !path.is_empty() || !name.is_empty()).collect();
    w.count(names.len());
    for name in names {
        w.qualified_name(0, name);
    }
    w.u32(attribute);
    w.text(range);
    w.0
}

fn field(path: &str) -> Operand {
    (SIMPLE, simple(2_041, path, 13, ""))
}

fn element(index: u32) -> Operand {
    (ELEMENT, index.to_le_bytes().into())
}

#[allow(clippy::needless_pass_by_value, reason = "so that the tables read well")]
fn literal(field: Field) -> Operand {
    let mut w = Writer::default();
    field.write(&mut w);
    (LITERAL, w.0)
}

fn value(value: Value) -> Operand {
    literal(Field::Value(value))
}

fn int(number: i32) -> Operand {
    value(Value::Int32(number))
}

fn text(text: &str) -> Operand {
    value(Value::string(text))
}

fn node(id: u32) -> Operand {
    literal(Field::Standard(id))
}

fn truth(truth: Option<bool>) -> Operand {
    value(truth.map_or(Value::Null, Value::Boolean))
}

fn filter(select: &[Vec<u8>], elements: &[(u32, Vec<Operand>)]) -> Vec<u8> {
    let mut w = Writer::default();
    w.count(select.len());
    for clause in select {
        w.0.extend_from_slice(clause);
    }
    w.count(elements.len());
    for (operator, operands) in elements {
        w.u32(*operator);
        w.count(operands.len());
        for (kind, body) in operands {
            w.extension(Id::numeric(0, *kind), |w| w.0.extend_from_slice(body));
        }
    }
    w.0
}

fn read(body: &[u8]) -> Result<(EventFilter, Option<super::filter::EventFilterResult>), Refused> {
    EventFilter::read(&Extension { type_id: Id::numeric(0, 727), body: Some(body) }, &Limits::default())
}

fn parse(elements: &[(u32, Vec<Operand>)]) -> Result<EventFilter, Refused> {
    read(&filter(&[simple(2_041, "EventId", 13, "")], elements)).map(|(filter, _)| filter)
}

/// A high level alarm that is active and not acknowledged.
fn alarm() -> Event {
    let base = Base {
        id: [3; 16],
        event_type: 9_482,
        source: "Plant/Line1/Level".into(),
        time: Timestamp::from_ticks(1_000),
        message: "Level high".into(),
        severity: 700,
    };
    let event = base.event(vec![
        ("ActiveState", Field::Text("Active".into())),
        ("ActiveState/Id", Field::Value(Value::Boolean(true))),
        ("AckedState/Id", Field::Value(Value::Boolean(false))),
        ("BranchId", Field::Standard(0)),
        ("Quality", Field::Status(StatusCode::BAD_NO_COMMUNICATION)),
        ("LimitState/CurrentState/Id", Field::Standard(9_331)),
        ("HighLimit", Field::Bad(StatusCode::BAD_COMMUNICATION_ERROR)),
        ("Retain", Field::Value(Value::Boolean(true))),
    ]);
    Event { condition: Some("Plant/Line1/Level/Alarms/High".into()), ..event }
}

/// True, false, or NULL of one element: an event passes when it is true, and when Not of it is true it was false.
fn resolves(operator: u32, operands: Vec<Operand>) -> Option<bool> {
    let event = alarm();
    let plain = parse(&[(operator, operands.clone())]).unwrap();
    let not = parse(&[(7, vec![element(1)]), (operator, operands)]).unwrap();
    match (plain.passes(&event), not.passes(&event)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("both true and false"),
    }
}

#[test]
fn every_operator() {
    let cases = [
        // Equals.
        (0, vec![field("Severity"), int(700)], Some(true)),
        (0, vec![field("Severity"), int(701)], Some(false)),
        (0, vec![field("SourceName"), text("Level")], Some(true)),
        (0, vec![field("Message"), text("Level high")], Some(true)),
        (0, vec![field("EventType"), node(9_482)], Some(true)),
        (0, vec![field("BranchId"), node(0)], Some(true)),
        (0, vec![field("LimitState/CurrentState/Id"), node(9_331)], Some(true)),
        (0, vec![field("Quality"), literal(Field::Status(StatusCode::BAD_NO_COMMUNICATION))], Some(true)),
        (0, vec![field("SourceNode"), literal(Field::Node("Plant/Line1/Level".into()))], Some(true)),
        (0, vec![field("EventId"), value(Value::ByteString([3; 16].into()))], Some(true)),
        (0, vec![field("Time"), value(Value::DateTime(Timestamp::from_ticks(1_000)))], Some(true)),
        (0, vec![field("Time"), text("soon")], Some(false)),
        (0, vec![field("Comment"), text("x")], None),
        (0, vec![field("HighLimit"), int(1)], None),
        // IsNull, also of a status in place of a value and of the null NodeId.
        (1, vec![field("Comment")], Some(true)),
        (1, vec![field("HighLimit")], Some(true)),
        (1, vec![field("BranchId")], Some(true)),
        (1, vec![field("Severity")], Some(false)),
        (1, vec![truth(None)], Some(true)),
        // The four comparisons.
        (2, vec![field("Severity"), int(699)], Some(true)),
        (2, vec![field("Severity"), int(700)], Some(false)),
        (2, vec![field("Severity"), text("high")], Some(false)),
        (2, vec![field("Comment"), int(1)], None),
        (3, vec![field("Severity"), value(Value::Double(700.5))], Some(true)),
        (3, vec![field("Severity"), int(700)], Some(false)),
        (4, vec![field("Severity"), int(700)], Some(true)),
        (4, vec![field("Severity"), int(701)], Some(false)),
        (5, vec![field("Severity"), int(700)], Some(true)),
        (5, vec![field("Severity"), int(699)], Some(false)),
        (5, vec![field("Time"), value(Value::DateTime(Timestamp::from_ticks(1_001)))], Some(true)),
        // Like.
        (6, vec![field("SourceName"), text("L%")], Some(true)),
        (6, vec![field("Message"), text("%[g-i]igh")], Some(true)),
        (6, vec![field("Message"), text("low%")], Some(false)),
        (6, vec![field("Comment"), text("%")], Some(false)),
        (6, vec![text("a_c"), field("Message")], Some(false)),
        // Not.
        (7, vec![field("AckedState/Id")], Some(true)),
        (7, vec![field("ActiveState/Id")], Some(false)),
        (7, vec![field("Severity")], None),
        // Between.
        (8, vec![field("Severity"), int(700), int(800)], Some(true)),
        (8, vec![field("Severity"), int(701), int(800)], Some(false)),
        (8, vec![field("Severity"), int(1), truth(None)], None),
        (8, vec![field("Severity"), int(701), truth(None)], Some(false)),
        // InList.
        (9, vec![field("EventType"), node(1), text("x"), node(9_482)], Some(true)),
        (9, vec![field("EventType"), node(1), truth(None)], Some(false)),
        (9, vec![field("Comment"), text("x")], None),
        // Cast.
        (12, vec![text("true"), node(1)], Some(true)),
        (12, vec![text("perhaps"), node(1)], None),
        (12, vec![field("Severity"), node(1)], Some(true)),
        // OfType.
        (14, vec![node(9_482)], Some(true)),
        (14, vec![node(2_881)], Some(true)),
        (14, vec![node(2_041)], Some(true)),
        (14, vec![node(10_637)], Some(false)),
    ];
    for (operator, operands, expected) in cases {
        assert_eq!(resolves(operator, operands.clone()), expected, "{operator} {operands:?}");
    }
}

#[test]
fn logic_has_three_values() {
    let (t, f, n) = (Some(true), Some(false), None);
    for (left, right, and, or) in [
        (t, t, t, t),
        (t, f, f, t),
        (t, n, n, t),
        (f, t, f, t),
        (f, f, f, f),
        (f, n, f, n),
        (n, t, n, t),
        (n, f, f, n),
        (n, n, n, n),
    ] {
        assert_eq!(resolves(10, vec![truth(left), truth(right)]), and, "{left:?} and {right:?}");
        assert_eq!(resolves(11, vec![truth(left), truth(right)]), or, "{left:?} or {right:?}");
    }
    assert_eq!((resolves(7, vec![truth(t)]), resolves(7, vec![truth(f)]), resolves(7, vec![truth(n)])), (f, t, n));
    // What is no truth is NULL, a number too.
    assert_eq!(resolves(10, vec![int(1), truth(t)]), n);
    assert_eq!(resolves(11, vec![text("true"), truth(f)]), n);
}

#[test]
fn elements_give_values_to_others() {
    let event = alarm();
    // (Severity & 0x200) = 0x200.
    let bits = parse(&[(0, vec![element(1), int(0x200)]), (16, vec![field("Severity"), int(0x200)])]).unwrap();
    assert!(bits.passes(&event));
    let bits = parse(&[(0, vec![element(1), int(0x3BC)]), (17, vec![field("Severity"), int(0x100)])]).unwrap();
    assert!(bits.passes(&event));
    let none = parse(&[(1, vec![element(1)]), (16, vec![field("Message"), int(1)])]).unwrap();
    assert!(none.passes(&event));
    // Cast to a type derived from a built-in one: Duration is a Double.
    let cast = parse(&[(0, vec![element(1), value(Value::Double(700.0))]), (12, vec![field("Severity"), node(290)])]).unwrap();
    assert!(cast.passes(&event));
    // A reference back is none in a circle.
    let back = parse(&[
        (10, vec![element(2), element(2)]),
        (2, vec![field("Severity"), int(1)]),
        (10, vec![element(1), field("ActiveState/Id")]),
    ]);
    assert!(back.unwrap().passes(&event));
    // What the first element does not lead to is ignored.
    assert!(parse(&[(14, vec![node(2_041)]), (7, vec![element(1)])]).unwrap().passes(&event));
    assert!(parse(&[]).unwrap().passes(&event));
    // A number is no truth.
    assert!(!parse(&[(16, vec![int(1), int(1)])]).unwrap().passes(&event));
}

#[test]
fn a_field_is_null_for_events_of_other_types() {
    let base = Base {
        id: [4; 16],
        event_type: 2_133,
        source: "".into(),
        time: Timestamp::from_ticks(1),
        message: "changed".into(),
        severity: 100,
    };
    let event = base.event(Vec::new());
    let of = |of, path: &str| (SIMPLE, simple(of, path, 13, ""));
    assert!(parse(&[(1, vec![of(2_915, "Severity")])]).unwrap().passes(&event));
    assert!(!parse(&[(1, vec![of(2_132, "Severity")])]).unwrap().passes(&event));
    assert!(parse(&[(0, vec![field("SourceNode"), node(2_253)])]).unwrap().passes(&event));
    assert!(parse(&[(0, vec![field("SourceName"), text("Server")])]).unwrap().passes(&event));
    // AttributeOperand says the same.
    let mut w = Writer::default();
    w.standard(2_041);
    w.null();
    w.count(1);
    w.standard(46);
    w.0.extend_from_slice(&[0, 1]);
    w.qualified_name(0, "Severity");
    w.u32(13);
    w.null();
    assert!(parse(&[(0, vec![(ATTRIBUTE, w.0), int(100)])]).unwrap().passes(&event));
}

#[test]
fn a_dag_is_not_exponential_and_a_circle_is_refused() {
    let deep: Vec<_> = (0..199).map(|index| (10, vec![element(index + 1), element(index + 1)])).collect();
    let deep = [deep, vec![(14, vec![node(2_041)])]].concat();
    assert!(parse(&deep).unwrap().passes(&alarm()));
    for circle in [
        vec![(7, vec![element(0)])],
        vec![(7, vec![element(1)]), (7, vec![element(0)])],
        vec![(10, vec![truth(Some(true)), element(1)]), (7, vec![element(2)]), (7, vec![element(1)])],
    ] {
        let refused = parse(&circle).unwrap_err();
        assert_eq!(refused.status, status::BAD_EVENT_FILTER_INVALID);
        let mut w = Writer::default();
        refused.result.unwrap().write(&mut w);
        let told = content::BAD_FILTER_ELEMENT_INVALID.0.to_le_bytes();
        assert!(w.0.windows(4).any(|window| window == told));
    }
}

/// Elements as they travel: operator and operands.
type Elements = Vec<(u32, Vec<Operand>)>;
/// Status and operand statuses of each element.
type ElementStatuses = Vec<(StatusCode, Vec<StatusCode>)>;
/// Select statuses, then those of the elements.
type Told = (Vec<StatusCode>, ElementStatuses);

fn told(result: &super::filter::EventFilterResult) -> Told {
    let mut w = Writer::default();
    result.write(&mut w);
    let mut reader = Bytes::new(&w.0);
    let extension = reader.extension().unwrap();
    assert_eq!((extension.type_id.standard(), reader.rest().len()), (Some(736), 0));
    let mut r = Bytes::new(extension.body.unwrap());
    let statuses = |r: &mut Bytes<'_>| -> Vec<_> { (0..r.count(4).unwrap()).map(|_| StatusCode(r.u32().unwrap())).collect() };
    let select = statuses(&mut r);
    assert_eq!(r.count(1), Ok(0));
    let elements = (0..r.count(8).unwrap())
        .map(|_| {
            let status = StatusCode(r.u32().unwrap());
            let operands = statuses(&mut r);
            assert_eq!(r.count(1), Ok(0));
            (status, operands)
        })
        .collect();
    assert_eq!((r.count(1), r.rest().len()), (Ok(0), 0));
    (select, elements)
}

#[test]
fn wrong_where_clauses_are_refused_with_reasons() {
    let good = StatusCode::GOOD;
    let invalid = content::BAD_FILTER_OPERAND_INVALID;
    let many = content::BAD_FILTER_OPERAND_COUNT_MISMATCH;
    let cases: Vec<(Elements, ElementStatuses)> = vec![
        (vec![(0, vec![int(1)])], vec![(many, vec![good])]),
        (vec![(0, vec![])], vec![(many, vec![])]),
        (vec![(1, vec![int(1), int(1)])], vec![(many, vec![good, good])]),
        (vec![(8, vec![int(1), int(1)])], vec![(many, vec![good, good])]),
        (vec![(9, vec![int(1)])], vec![(many, vec![good])]),
        // InView and RelatedTo: of the complex operators only OfType is permitted (Part 4, 7.22.3).
        (vec![(13, vec![node(87)])], vec![(content::BAD_FILTER_OPERATOR_UNSUPPORTED, vec![good])]),
        (vec![(15, vec![])], vec![(content::BAD_FILTER_OPERATOR_UNSUPPORTED, vec![])]),
        (
            vec![(15, vec![node(61), node(61), node(35), int(1), truth(Some(true)), truth(Some(true))])],
            vec![(content::BAD_FILTER_OPERATOR_UNSUPPORTED, vec![good; 6])],
        ),
        (vec![(18, vec![int(1)])], vec![(content::BAD_FILTER_OPERATOR_INVALID, vec![good])]),
        (vec![(7, vec![element(1)])], vec![(invalid, vec![content::BAD_FILTER_ELEMENT_INVALID])]),
        (vec![(7, vec![(9_999, vec![])])], vec![(invalid, vec![invalid])]),
        (vec![(7, vec![(LITERAL, vec![6])])], vec![(invalid, vec![content::BAD_FILTER_LITERAL_INVALID])]),
        (vec![(7, vec![(LITERAL, [23, 1].repeat(5_000))])], vec![(invalid, vec![content::BAD_FILTER_LITERAL_INVALID])]),
        (vec![(7, vec![text(&"x".repeat(40_000))])], vec![(invalid, vec![content::BAD_FILTER_LITERAL_INVALID])]),
        (vec![(7, vec![field("Nonsense")])], vec![(invalid, vec![StatusCode::BAD_NODE_ID_UNKNOWN])]),
        (vec![(14, vec![text("i=2041")])], vec![(invalid, vec![invalid])]),
        (vec![(14, vec![node(58)])], vec![(invalid, vec![clauses::BAD_TYPE_DEFINITION_INVALID])]),
        (vec![(12, vec![int(1), node(58)])], vec![(invalid, vec![good, invalid])]),
        (vec![(6, vec![field("Message"), text("[a")])], vec![(invalid, vec![good, content::BAD_FILTER_LITERAL_INVALID])]),
        (
            vec![(14, vec![node(2_041)]), (0, vec![field("Nonsense"), int(1)])],
            vec![(good, vec![good]), (invalid, vec![StatusCode::BAD_NODE_ID_UNKNOWN, good])],
        ),
    ];
    for (elements, expected) in cases {
        let refused = parse(&elements).unwrap_err();
        assert_eq!(refused.status, status::BAD_EVENT_FILTER_INVALID, "{elements:?}");
        assert_eq!(told(&refused.result.unwrap()), (vec![good], expected), "{elements:?}");
    }
}

#[test]
fn filters_that_are_none() {
    let limits = Limits::default();
    let of = |id: u32, body: Option<&[u8]>| {
        EventFilter::read(&Extension { type_id: Id::numeric(0, id), body }, &limits).unwrap_err().status
    };
    assert_eq!(of(0, None), status::BAD_EVENT_FILTER_INVALID);
    assert_eq!(of(724, Some(&[0; 16])), status::BAD_FILTER_NOT_ALLOWED);
    assert_eq!(of(730, Some(&[0; 16])), status::BAD_FILTER_NOT_ALLOWED);
    assert_eq!(of(884, Some(&[0; 16])), status::BAD_MONITORED_ITEM_FILTER_UNSUPPORTED);
    assert_eq!(of(727, None), status::BAD_MONITORED_ITEM_FILTER_INVALID);
    assert_eq!(of(727, Some(&[1, 0, 0])), status::BAD_MONITORED_ITEM_FILTER_INVALID);
    assert_eq!(of(727, Some(&[0xFF, 0xFF, 0xFF, 0x7F, 0])), status::BAD_MONITORED_ITEM_FILTER_INVALID);
    // No select clause at all.
    assert_eq!(of(727, Some(&filter(&[], &[]))), status::BAD_EVENT_FILTER_INVALID);
    // More than anybody needs.
    let clause = simple(2_041, "EventId", 13, "");
    let refused = |body: &[u8]| read(body).map(|_| ()).unwrap_err();
    assert_eq!(refused(&filter(&vec![clause.clone(); 1_001], &[])).status, status::BAD_EVENT_FILTER_INVALID);
    assert_eq!(
        refused(&filter(std::slice::from_ref(&clause), &vec![(7, vec![truth(None)]); 201])).status,
        status::BAD_EVENT_FILTER_INVALID
    );
    let wide = (9, vec![int(1); 1_001]);
    assert_eq!(refused(&filter(&[clause], &[wide])).status, status::BAD_EVENT_FILTER_INVALID);
}

#[test]
fn every_select_clause_keeps_its_place() {
    let slash = {
        let mut w = Writer::default();
        w.standard(2_041);
        w.count(1);
        w.qualified_name(0, "");
        w.u32(13);
        w.null();
        w.0
    };
    let good = StatusCode::GOOD;
    let attribute_invalid = StatusCode(0x8035_0000);
    let clauses = [
        (simple(2_041, "EventId", 13, ""), good, Some(Field::Value(Value::ByteString([3; 16].into())))),
        (simple(2_041, "Nonsense", 13, ""), StatusCode::BAD_NODE_ID_UNKNOWN, None),
        (simple(2_041, "Severity", 13, ""), good, Some(Field::Value(Value::UInt16(700)))),
        (simple(58, "Severity", 13, ""), clauses::BAD_TYPE_DEFINITION_INVALID, None),
        (slash, clauses::BAD_BROWSE_NAME_INVALID, None),
        (simple(2_041, "Severity", 99, ""), attribute_invalid, None),
        (simple(2_041, "Severity", 4, ""), attribute_invalid, None),
        (simple(2_915, "ShelvingState", 13, ""), attribute_invalid, None),
        (simple(2_041, "Severity", 13, "2:1"), StatusCode(0x8036_0000), None),
        // Inherited through a sub type, and a field of a sub type named through the root.
        (simple(9_482, "Retain", 13, ""), good, Some(Field::Value(Value::Boolean(true)))),
        (simple(2_041, "ActiveState", 13, ""), good, Some(Field::Text("Active".into()))),
        // A type that this event is not of; but what all events have is told.
        (simple(10_637, "Retain", 13, ""), good, None),
        (simple(10_637, "Severity", 13, ""), good, Some(Field::Value(Value::UInt16(700)))),
        // The ConditionId, by either type.
        (simple(2_782, "", 1, ""), good, Some(Field::Node("Plant/Line1/Level/Alarms/High".into()))),
        (simple(2_041, "", 1, ""), good, Some(Field::Node("Plant/Line1/Level/Alarms/High".into()))),
        (simple(2_041, "", 13, ""), attribute_invalid, None),
        (simple(2_130, "", 1, ""), attribute_invalid, None),
        // The node of a member.
        (
            simple(2_915, "ShelvingState/CurrentState", 1, ""),
            good,
            Some(Field::Node("Plant/Line1/Level/Alarms/High/0:ShelvingState/0:CurrentState".into())),
        ),
        // A status in place of a value is told as such.
        (simple(2_041, "HighLimit", 13, ""), good, Some(Field::Bad(StatusCode::BAD_COMMUNICATION_ERROR))),
        (simple(2_041, "SourceName", 13, "0:2"), good, Some(Field::Value(Value::string("Lev")))),
    ];
    let encoded: Vec<_> = clauses.iter().map(|(clause, ..)| clause.clone()).collect();
    let (filter, result) = read(&filter(&encoded, &[])).unwrap();
    let expected: Vec<_> = clauses.iter().map(|(_, status, _)| *status).collect();
    assert_eq!(told(&result.unwrap()), (expected, vec![]));
    let (mut found, mut wanted) = (Writer::default(), Writer::default());
    filter.write(&alarm(), &mut found);
    wanted.count(clauses.len());
    for (.., field) in &clauses {
        field.as_ref().unwrap_or(&Field::Value(Value::Null)).write(&mut wanted);
    }
    assert_eq!(found.0, wanted.0);
    assert_eq!(attribute::NODE_ID, 1);
}
