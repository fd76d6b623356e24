//! The members of condition instances (Part 9, 5): which type an alarm is of, and what an instance of it has. They are read off the
//! type nodes of namespace 0 once and shared by all alarms of a shape; no node is stored for a member. The objects of sessions are
//! made the same way.

use std::sync::Arc;

use super::super::{
    conditions,
    ns0::{Core, CoreReference, reference},
};
use crate::engine::plan::{AlarmDef, Plan};

const MANDATORY: u32 = 78;
const HAS_MODELLING_RULE: u32 = 37;
/// The deepest member is `ShelvingState/CurrentState/Id`.
const DEEPEST: usize = 4;

/// What instances of one shape have.
#[derive(Debug)]
pub struct Members {
    /// Their type, in namespace 0.
    pub type_id: u32,
    /// Parents before their children.
    pub list: Vec<Member>,
}

impl Members {
    /// What instances of a type have that have nothing it leaves open.
    pub fn mandatory(type_id: u32) -> Self {
        Shape { type_id, fields: Vec::new(), shelving: false, latching: false }.members()
    }

    /// The place of the member whose NodeId has this after its owner's.
    pub fn find(&self, suffix: &str) -> Option<u16> {
        self.list.iter().position(|member| &*member.suffix == suffix).and_then(|place| u16::try_from(place).ok())
    }
}

/// A member of an instance.
#[derive(Debug)]
pub struct Member {
    /// Browse names below the instance, joined by `/`, such as `ActiveState/Id`.
    pub path: Box<str>,
    /// What its NodeId has after the instance's, such as `/0:ActiveState/0:Id`.
    pub suffix: Box<str>,
    /// The declaration that it is an instance of, by place in [`Core`]; of a method, the type's method.
    pub declaration: u32,
    /// By which its parent refers to it.
    pub reference: u32,
    /// Place of the member that it hangs on; `None` for the instance.
    pub parent: Option<u16>,
}

impl Member {
    /// Its BrowseName, in namespace 0.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&*self.path, |(_, name)| name)
    }

    /// Its NodeClass.
    pub fn class(&self) -> u32 {
        Core::get().class(self.declaration)
    }

    /// True for what says the arguments of a method.
    pub fn is_arguments(&self) -> bool {
        matches!(self.name(), "InputArguments" | "OutputArguments")
    }
}

/// What sets one list of members apart from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    type_id: u32,
    /// What events of the condition carry, which its instance has too.
    fields: Vec<&'static str>,
    shelving: bool,
    latching: bool,
}

impl Shape {
    /// The shape of an alarm (SPEC 5).
    pub fn of(alarm: &AlarmDef, plan: &Plan) -> Self {
        let tag = plan.tag(alarm.tag);
        Self {
            type_id: conditions::event_type(alarm, tag),
            fields: conditions::paths(alarm, tag).collect(),
            shelving: alarm.shelving,
            latching: alarm.latching,
        }
    }

    /// Whether instances of this shape have what the type leaves open.
    fn has(&self, path: &str) -> bool {
        match path {
            "RemoveFromService" | "PlaceInService" | "RemoveFromService2" | "PlaceInService2" => true,
            "ShelvingState" | "ShelvingState/TimedShelve2" | "ShelvingState/OneShotShelve2" | "ShelvingState/Unshelve2" => {
                self.shelving
            }
            "Reset" | "Reset2" => self.latching,
            _ => self.fields.contains(&path),
        }
    }

    /// What instances of this shape have: of each name, the declaration of the most derived type.
    pub fn members(&self) -> Members {
        let mut members = Members { type_id: self.type_id, list: Vec::new() };
        for of in types_from(Core::get().find(self.type_id)) {
            self.declared(of, None, &mut members.list);
        }
        members
    }

    fn declared(&self, of: u32, parent: Option<u16>, list: &mut Vec<Member>) {
        let core = Core::get();
        for declared in core.references(of) {
            let belongs = declared.forward && matches!(declared.kind, reference::HAS_COMPONENT | reference::HAS_PROPERTY);
            let Some(declaration) = core.find(declared.target).filter(|_| belongs) else { continue };
            let name = core.browse_name(declaration).1;
            let above = parent.map(|parent| &list[usize::from(parent)]);
            let path = above.map_or_else(|| name.to_owned(), |above| format!("{}/{name}", above.path));
            let known = list.iter().position(|member| *member.path == *path);
            let place = known.unwrap_or(list.len());
            if known.is_none() {
                if !is_mandatory(declaration) && !self.has(&path) {
                    continue;
                }
                let suffix = path.split('/').fold(String::new(), |suffix, name| suffix + "/0:" + name);
                list.push(Member { path: path.into(), suffix: suffix.into(), declaration, reference: declared.kind, parent });
            }
            if list[place].path.split('/').count() < DEEPEST {
                let place = u16::try_from(place).ok();
                self.declared(declaration, place, list);
                // A declaration need not repeat what the type of a part has.
                for of in types_of(declaration) {
                    self.declared(of, place, list);
                }
            }
        }
    }
}

/// The type definition of an object's declaration and what that is derived from; nothing for other declarations.
fn types_of(declaration: u32) -> impl Iterator<Item = u32> {
    const OBJECT: u32 = 1;
    let core = Core::get();
    let definition = core.references(declaration).iter().find(|r| r.forward && r.kind == reference::HAS_TYPE_DEFINITION);
    types_from(definition.filter(|_| core.class(declaration) == OBJECT).and_then(|definition| core.find(definition.target)))
}

/// A type and those that it is derived from.
fn types_from(first: Option<u32>) -> impl Iterator<Item = u32> {
    std::iter::successors(first, |of| {
        let core = Core::get();
        let up = core.references(*of).iter().find(|r| r.kind == reference::HAS_SUBTYPE && !r.forward);
        up.and_then(|up| core.find(up.target))
    })
}

fn is_mandatory(declaration: u32) -> bool {
    let rule = |r: &CoreReference| r.forward && r.kind == HAS_MODELLING_RULE && r.target == MANDATORY;
    Core::get().references(declaration).iter().any(rule)
}

/// The lists of members of all alarms of a plan.
#[derive(Debug, Default)]
pub struct AllMembers {
    shapes: Vec<(Shape, Arc<Members>)>,
    /// By position of the alarm.
    of: Vec<u16>,
}

impl AllMembers {
    /// Those of `plan`.
    pub fn of(plan: &Plan) -> Self {
        let mut all = Self { shapes: Vec::new(), of: Vec::with_capacity(plan.alarms.len()) };
        for alarm in &plan.alarms {
            let shape = Shape::of(alarm, plan);
            let place = all.shapes.iter().position(|(known, _)| *known == shape).unwrap_or_else(|| {
                let members = Arc::new(shape.members());
                all.shapes.push((shape, members));
                all.shapes.len() - 1
            });
            all.of.push(u16::try_from(place).expect("a shape is a type and some flags"));
        }
        all
    }

    /// Those of the alarm at this position in the plan.
    pub fn get(&self, alarm: u32) -> &Members {
        &self.shapes[usize::from(self.of[alarm as usize])].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(condition_type: u32) -> Shape {
        let fields = match condition_type {
            10_060 => vec!["HighLimit", "LowLimit", "HighState", "LowState"],
            9_482 => vec!["HighLimit", "LowLimit"],
            _ => Vec::new(),
        };
        let fields = [vec!["ActiveState/TransitionTime", "OutOfServiceState", "MaxTimeShelved"], fields].concat();
        Shape { type_id: condition_type, fields, shelving: true, latching: false }
    }

    #[test]
    fn an_instance_has_what_its_type_demands_and_what_the_alarm_has() {
        for (condition_type, has, has_not) in [
            (9_482, vec!["LimitState/CurrentState/Id", "HighLimit", "LowLimit"], vec!["HighState", "NormalState"]),
            (10_060, vec!["HighState/Id", "LowState", "HighLimit"], vec!["LimitState", "HighHighState"]),
            (9_623, vec!["LimitState/CurrentState"], vec!["EngineeringUnits"]),
            (10_637, vec!["NormalState"], vec!["LimitState"]),
            (10_523, vec!["InputNode"], vec!["NormalState"]),
        ] {
            let members = shape(condition_type).members();
            let paths: Vec<&str> = members.list.iter().map(|member| &*member.path).collect();
            let all = "EventId EventType SourceNode SourceName Time ReceiveTime Message Severity ConditionClassId ConditionClassName \
                       ConditionName BranchId Retain EnabledState EnabledState/Id Quality Quality/SourceTimestamp LastSeverity \
                       LastSeverity/SourceTimestamp Comment Comment/SourceTimestamp ClientUserId Disable Enable AddComment \
                       AddComment/InputArguments AckedState AckedState/Id Acknowledge Acknowledge/InputArguments ActiveState \
                       ActiveState/Id ActiveState/TransitionTime InputNode SuppressedOrShelved ShelvingState \
                       ShelvingState/CurrentState ShelvingState/CurrentState/Id ShelvingState/UnshelveTime \
                       ShelvingState/TimedShelve/InputArguments ShelvingState/TimedShelve2/InputArguments ShelvingState/Unshelve ShelvingState/OneShotShelve MaxTimeShelved \
                       OutOfServiceState/Id";
            for wanted in all.split_ascii_whitespace().chain(has) {
                assert!(paths.contains(&wanted), "{condition_type} {wanted}: {paths:?}");
            }
            for none in ["ConfirmedState", "SuppressedState", "ConditionRefresh", "Confirm"].into_iter().chain(has_not) {
                assert!(!paths.contains(&none), "{condition_type} {none}");
            }
            let mut unique = paths.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), paths.len(), "{condition_type}");
            for member in &members.list {
                let above =
                    member.parent.map(|parent| format!("{}/", members.list[usize::from(parent)].path)).unwrap_or_default();
                assert_eq!(*member.path, format!("{above}{}", member.name()));
            }
        }
    }

    #[test]
    fn of_a_name_the_most_derived_declaration_counts() {
        let members = shape(9_482).members();
        let find = |path: &str| members.list.iter().find(|member| &*member.path == path).unwrap();
        assert_eq!(Core::get().id(find("ActiveState").declaration), 9_398);
        assert_eq!(Core::get().id(find("Acknowledge").declaration), 9_111);
        assert_eq!(&*find("ActiveState/Id").suffix, "/0:ActiveState/0:Id");
    }
}
