//! A good request of every service of Part 4, encoded, for those who make bad ones of them. Needs nothing of this program.

use super::bytes::{count, extension, id, tag, target, text};

/// The encoding of a request and what follows its header.
#[derive(Clone)]
pub struct Good {
    pub kind: u32,
    pub body: Vec<u8>,
}

/// The good requests; some name this subscription and this item of it.
pub fn good_requests(subscription: u32, item: u32) -> Vec<Good> {
    let (subscription, item) = (&subscription.to_le_bytes()[..], &item.to_le_bytes()[..]);
    let level = tag("Plant/Line1/TankLevel");
    let application =
        [text("urn:x"), text(""), vec![2], text("name"), count(1), text(""), text(""), count(1), text("opc.tcp://x")];
    let session = [application.concat(), text(""), text("opc.tcp://x"), text("name"), vec![0xFF; 8], vec![0; 8], vec![0; 4]];
    let user = extension(324, &[text("username"), text("olga"), text("secret"), text("")].concat());
    let activate = |token: &[u8]| [&[0xFF; 8][..], &count(0), &count(1), &text("en"), token, &[0xFF; 8]].concat();
    let browse = [&[0, 0][..], &[0; 12], &count(2), &count(1), &level, &count(2), &id(33), &[1], &count(0), &count(63)];
    let element = [&id(33)[..], &[0, 1], &[2, 0], &text("Plant")].concat();
    let path = [&id(85)[..], &count(2), &element, &element].concat();
    let read = |targets: &[Vec<u8>]| [&[0; 8][..], &count(2), &count(targets.len()), &targets.concat()].concat();
    let data_change = extension(724, &[&1_u32.to_le_bytes()[..], &2_u32.to_le_bytes(), &5.0_f64.to_le_bytes()].concat());
    let asked = |sampling: f64, filter: &[u8]| [&count(1)[..], &sampling.to_le_bytes(), filter, &count(5), &[1]].concat();
    let create = |items: &[Vec<u8>]| [subscription, &count(2), &count(items.len()), &items.concat()].concat();
    let value_item = [target(&level, 13, ""), count(2), asked(10.0, &data_change)].concat();
    let event_item = [target(&id(2_253), 12, ""), count(2), asked(0.0, &extension(727, &event_filter()))].concat();
    let method = |object: &[u8], method: &[u8], arguments: &[Vec<u8>]| {
        [&count(1)[..], object, method, &count(arguments.len()), &arguments.concat()].concat()
    };
    let twilio = tag("System/Gateway/Twilio");
    let condition = tag("Plant/Line1/TankLevel/Alarms/HighHigh");
    let (event_id, comment) =
        ([&[15][..], &text("0123456789abcdef")].concat(), [&[21, 3][..], &text("en"), &text("seen")].concat());
    let words = |words: [&str; 2]| words.map(|word| [&[12][..], &text(word)].concat());
    let write = |value: &[u8]| [&count(1)[..], &tag("Plant/Line1/Recipe"), &count(13), &text(""), value].concat();
    let history = extension(647, &[&[0][..], &[0; 16], &count(10), &[0]].concat());
    let good = |kind, body| Good { kind, body };
    vec![
        good(422, [text("opc.tcp://x"), count(1), text("en"), count(1), text("urn:x")].concat()),
        good(428, [text("opc.tcp://x"), count(1), text("en"), count(1), text("http://profile")].concat()),
        good(461, session.concat()),
        good(467, activate(&extension(321, &text("anonymous")))),
        good(467, activate(&user)),
        good(473, vec![1]),
        good(479, count(4_711)),
        good(488, [count(1), count(0)].concat()),
        good(527, browse.concat()),
        good(533, [vec![0], count(1), text("\u{1}\0\0\0")].concat()),
        good(554, [count(1), path].concat()),
        good(560, [count(2), level.clone(), id(2_253)].concat()),
        good(566, [count(2), level.clone(), id(2_253)].concat()),
        good(615, vec![0; 40]),
        good(631, read(&[target(&level, 13, ""), target(&tag("Plant/Line1/Recipe"), 13, "1:2"), target(&id(2_256), 13, "")])),
        good(631, read(&(1..28).map(|attribute| target(&level, attribute, "")).collect::<Vec<_>>())),
        good(664, [history, count(2), vec![0], count(1), level.clone(), text(""), vec![0, 0], text(""), text("")].concat()),
        good(673, write(&[&[1, 0x84][..], &count(4), &[1, 0, 2, 0, 3, 0, 4, 0]].concat())),
        good(673, write(&[&[0x0F, 10, 0, 0, 0x20, 0x41][..], &[0; 4], &[1; 8], &[1; 8]].concat())),
        good(712, method(&twilio, &tag("System/Gateway/Twilio/SendMessage"), &words(["+15550002222", "hello"]))),
        good(712, method(&twilio, &tag("System/Gateway/Twilio/GetUser"), &[[&[8][..], &1_001_u64.to_le_bytes()].concat()])),
        good(712, method(&condition, &id(9_111), &[event_id.clone(), comment.clone()])),
        good(712, method(&condition, &id(9_029), &[event_id, comment])),
        good(712, method(&condition, &id(2_949), &[[&[11][..], &60_000.0_f64.to_le_bytes()].concat()])),
        good(712, method(&id(2_782), &id(3_875), &[[&[7][..], subscription].concat()])),
        good(712, method(&id(2_782), &id(12_912), &[[&[7][..], subscription].concat(), [&[7][..], item].concat()])),
        good(751, create(std::slice::from_ref(&value_item))),
        good(751, create(std::slice::from_ref(&event_item))),
        good(751, create(&[value_item, event_item])),
        good(763, [subscription, &count(2), &count(1), item, &asked(500.0, &[0, 0, 0])].concat()),
        good(763, [subscription, &count(2), &count(1), item, &asked(0.0, &extension(727, &event_filter()))].concat()),
        good(769, [subscription, &count(1), &count(1), item].concat()),
        good(775, [subscription, item, &count(1), item, &count(1), item].concat()),
        good(781, [subscription, &count(1), item].concat()),
        good(787, [&100.0_f64.to_le_bytes()[..], &count(1_000), &count(10), &count(0), &[1, 0]].concat()),
        good(793, [subscription, &100.0_f64.to_le_bytes(), &count(1_000), &count(10), &count(0), &[0]].concat()),
        good(799, [&[1], &count(1)[..], subscription].concat()),
        good(826, [&count(1)[..], subscription, &count(1)].concat()),
        good(832, [subscription, &count(1)].concat()),
        good(841, [&count(1)[..], subscription, &[1]].concat()),
        good(847, [&count(1)[..], subscription].concat()),
    ]
}

/// An EventFilter: some fields, and a where clause of several operators that refer to each other.
pub fn event_filter() -> Vec<u8> {
    let names = ["EventId", "EventType", "SourceName", "Time", "Message", "Severity", "Retain", "BranchId"];
    let mut select: Vec<Vec<u8>> = names.iter().map(|name| simple(&[name], 13)).collect();
    select.push(simple(&["ActiveState", "Id"], 13));
    select.push(simple(&[], 1));
    let literal = |variant: &[u8]| extension(597, variant);
    let refers = |element: u32| extension(594, &element.to_le_bytes());
    let attribute = |name: &str| extension(603, &simple(&[name], 13));
    let string = |text_: &str| literal(&[&[12][..], &text(text_)].concat());
    let elements = [
        // And: elements 1 and 2.
        operator(10, &[refers(1), refers(2)]),
        // Or: elements 3 and 4.
        operator(11, &[refers(3), refers(4)]),
        // OfType ConditionType.
        operator(14, &[literal(&[&[17][..], &id(2_782)].concat())]),
        // GreaterThanOrEqual.
        operator(4, &[attribute("Severity"), literal(&[5, 0x2C, 1])]),
        operator(5, &[attribute("SourceName"), refers(5)]),
        // Like, Between, InList, Not, Cast, BitwiseAnd.
        operator(6, &[attribute("SourceName"), string("Tank%[A-Z]_")]),
        operator(8, &[attribute("Severity"), literal(&[5, 1, 0]), literal(&[5, 0xE8, 3])]),
        operator(9, &[attribute("EventType"), literal(&[&[17][..], &id(2_915)].concat()), string("x")]),
        operator(7, &[refers(8)]),
        operator(12, &[attribute("Severity"), literal(&[&[17][..], &id(10)].concat())]),
        operator(16, &[attribute("Severity"), literal(&[5, 1, 0])]),
    ];
    [count(select.len()), select.concat(), count(elements.len()), elements.concat()].concat()
}

/// A SimpleAttributeOperand of BaseEventType.
pub fn simple(path: &[&str], attribute: u32) -> Vec<u8> {
    let names: Vec<Vec<u8>> = path.iter().map(|name| [&[0, 0][..], &text(name)].concat()).collect();
    [&id(2_041)[..], &count(path.len()), &names.concat(), &attribute.to_le_bytes(), &text("")].concat()
}

/// A ContentFilterElement.
pub fn operator(operator: u32, operands: &[Vec<u8>]) -> Vec<u8> {
    [&operator.to_le_bytes()[..], &count(operands.len()), &operands.concat()].concat()
}
