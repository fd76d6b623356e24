//! Every reason for which a message is not sent can be met, and stands in the audit log in its words.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use annunciator::{
    engine::{
        io::Command,
        record::{AuditKind, NotSent},
    },
    scenario::{Rig, Setup, world::Mood},
    tag::Value,
};

/// A way to tell carol, alice or dave of an alarm, and what happens to it.
struct Story {
    reason: NotSent,
    /// Besides the pipeline `p`.
    config: &'static str,
    /// `notify` of the pipeline.
    notify: &'static str,
    happens: fn(&mut Rig),
}

const CAROL: &str = "profile = 'sms', roster = 'managers'";
const CAROL_NUMBER: &str = "+12223330003";

const ORDER: &str = "[[event]]\nname = 'Order'\nprofile = 'sms'\nconsent = 'orders'\nper_hour = 1\n";

const STORIES: &[Story] = &[
    Story {
        reason: NotSent::Cooldown,
        config: "[[profile]]\nname = 'calm'\nkind = 'sms'\ntwilio = 'main'\nmessage = 'x'\ncooldown = '10m'\n",
        notify: "profile = 'calm', roster = 'managers', repeat = '1m', times = 2",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::Budget,
        config: "[throttle]\nbudget = { messages_per_hour = 1 }\n",
        notify: CAROL,
        happens: |rig| raise(rig, 0..2),
    },
    Story {
        reason: NotSent::Consolidated,
        config: "",
        notify: "profile = 'sms', roster = 'managers', consolidate = { wait = '5s', n = 1 }",
        happens: |rig| raise(rig, 0..2),
    },
    Story {
        reason: NotSent::Superseded,
        config: "",
        notify: "profile = 'sms', roster = 'managers', consolidate = { wait = '5s' }",
        happens: |rig| {
            raise(rig, 0..1);
            rig.command("bob", Command::Acknowledge { alarm: "P/0/Alarms/On".into(), note: String::new() });
        },
    },
    Story {
        reason: NotSent::OffDuty,
        config: "[[schedule]]\nname = 'nights'\nweekly = [{ days = 'mon-sun', from = '18:00', to = '06:00' }]\n\
                 [[user]]\nname = 'eve'\nphone = '+12223330005'\nroles = ['operator']\nschedule = 'nights'\ntime_zone = 'UTC'\n\
                 [[roster]]\nname = 'night'\nusers = ['eve']\n",
        notify: "profile = 'sms', roster = 'night'",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::Covered,
        config: "[[override]]\nuser = 'bob'\ncovers = 'carol'\nfrom = '2026-01-01T00:00'\nto = '2026-02-01T00:00'\n",
        notify: CAROL,
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::OptedOut,
        config: "",
        notify: CAROL,
        happens: |rig| {
            rig.inbound(CAROL_NUMBER, "STOP");
            after(rig, 1);
            raise(rig, 0..1);
        },
    },
    Story {
        reason: NotSent::NoConsent,
        config: "[[profile]]\nname = 'asked'\nkind = 'sms'\ntwilio = 'main'\nmessage = 'x'\nconsent = 'alarms'\n",
        notify: "profile = 'asked', roster = 'managers'",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::Disabled,
        config: "[[profile]]\nname = 'off'\nkind = 'sms'\ntwilio = 'main'\nmessage = 'x'\ndisabled = true\n",
        notify: "profile = 'off', roster = 'managers'",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        // Carol is in a flood and has answered: she is not phoned for less than a critical alarm.
        reason: NotSent::Flood,
        config: "[throttle]\nflood = { alarms = 2 }\n[[profile]]\nname = 'voice'\nkind = 'voice'\ntwilio = 'main'\nmessage = 'x'\n\
                 [[pipeline]]\nname = 'phone'\nend_on_clear = false\n[[pipeline.step]]\nnotify = { profile = 'voice', roster = 'managers' }\n",
        notify: CAROL,
        happens: |rig| {
            raise(rig, 0..3);
            rig.inbound(CAROL_NUMBER, "1234");
            after(rig, 1);
            raise(rig, 9..10);
        },
    },
    Story {
        reason: NotSent::Chattering,
        config: "",
        notify: CAROL,
        happens: |rig| {
            for _ in 0..5 {
                raise(rig, 0..1);
            }
        },
    },
    Story {
        reason: NotSent::BelowPriority,
        config: "[[user]]\nname = 'eve'\ncontacts = [{ sms = '+12223330005', min_priority = 'critical' }]\nroles = ['operator']\n\
                 [[roster]]\nname = 'urgent'\nusers = ['eve']\n",
        notify: "profile = 'sms', roster = 'urgent'",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::NotAllowed,
        config: "[people]\nallow_numbers = ['+1999*']\n",
        notify: CAROL,
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::Removed,
        config: "",
        notify: CAROL,
        happens: |rig| {
            rig.world.mood = Mood::Down;
            raise(rig, 0..1);
            let story = STORIES.iter().find(|story| story.reason == NotSent::Removed).unwrap();
            rig.reload(&setup(story, 1..10)).unwrap();
        },
    },
    Story {
        reason: NotSent::CannotCall,
        config: "[[twilio]]\nname = 'deaf'\naccount_sid = 'AC00000000000000000000000000000001'\nauth_token = 'token'\n\
                 from = '+15550001112'\nvoice_without_url = false\n\
                 [[profile]]\nname = 'voice'\nkind = 'voice'\ntwilio = 'deaf'\nmessage = 'x'\n",
        notify: "profile = 'voice', roster = 'managers'",
        happens: |rig| raise(rig, 0..1),
    },
    Story {
        reason: NotSent::Answers,
        config: "",
        notify: CAROL,
        happens: |rig| {
            for _ in 0..11 {
                rig.inbound(CAROL_NUMBER, "?");
                after(rig, 1);
            }
        },
    },
    Story { reason: NotSent::NotIdentified, config: ORDER, notify: CAROL, happens: order },
    Story {
        reason: NotSent::EventLimit,
        config: ORDER,
        notify: CAROL,
        happens: |rig| {
            let (phone, consent) = (Some("+12223330009".to_owned()), Some(vec!["orders".to_owned()]));
            rig.command("bob", Command::Identify { user_id: "c1".into(), phone, consent });
            order(rig);
            order(rig);
        },
    },
];

/// Another program tells of an order.
fn order(rig: &mut Rig) {
    let properties = serde_json::json!({ "sms_body": "ready" });
    rig.command("bob", Command::Track { user_id: "c1".into(), event: "Order".into(), properties });
}

fn setup(story: &Story, alarms: std::ops::Range<usize>) -> Setup<'static> {
    let config = format!(
        "{}[[pipeline]]\nname = 'p'\nend_on_clear = false\n[[pipeline.step]]\nnotify = {{ {} }}\n",
        story.config, story.notify
    );
    let mut tags = String::new();
    for alarm in alarms {
        // The last one is phoned, where there is a pipeline for that.
        let pipeline = if alarm == 9 && config.contains("'phone'") { "phone" } else { "p" };
        let _ = write!(
            tags,
            "[[tag]]\npath = 'P/{alarm}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = '0'\n\
             [[tag.alarm]]\nname = 'On'\npipeline = '{pipeline}'\n"
        );
    }
    Setup::on_example_people(&config, &tags)
}

fn after(rig: &mut Rig, seconds: u64) {
    rig.run_until(rig.now + Duration::from_secs(seconds));
}

/// These alarms, one a second, off before they come.
fn raise(rig: &mut Rig, alarms: std::ops::Range<usize>) {
    for alarm in alarms {
        let tag = rig.tag(&format!("P/{alarm}")).unwrap();
        for value in [false, true] {
            rig.set(tag, Value::Boolean(value));
        }
        after(rig, 1);
    }
}

#[test]
fn every_reason_is_met_and_audited() {
    for story in STORIES {
        let start = "2026-01-05T08:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let mut rig = Rig::new(&setup(story, 0..10), start.into(), 1).unwrap_or_else(|problems| panic!("{problems}"));
        rig.start_program();
        (story.happens)(&mut rig);
        after(&mut rig, 120);
        assert_eq!(rig.broken, None, "{:?}", story.reason);
        let not_sent = rig.watch.audit.iter().filter(|entry| entry.kind == AuditKind::MessageNotSent);
        let found: BTreeSet<&str> = not_sent.map(|entry| entry.result.as_str()).collect();
        assert!(found.contains(story.reason.words()), "{:?}: found {found:?}", story.reason);
    }
    let told: BTreeSet<NotSent> = STORIES.iter().map(|story| story.reason).collect();
    assert_eq!(told, NotSent::ALL.into_iter().collect(), "every reason has a story");
}
