//! Who may do what, as roles of the standard (Part 3, 4.9; Part 18, 4.3): viewer is Observer, operator and engineer have their names.

use super::super::wire::{Id, Writer};
use crate::engine::plan::{Role, TagDef};

const ROLE_PERMISSION: Id<'static> = Id::numeric(0, 128);

/// PermissionType (Part 3, 8.55).
const BROWSE: u32 = 1;
const READ_ROLE_PERMISSIONS: u32 = 1 << 1;
const READ: u32 = 1 << 5;
const WRITE: u32 = 1 << 6;
const RECEIVE_EVENTS: u32 = 1 << 11;
const CALL: u32 = 1 << 12;

/// Our roles and their ids in namespace 0, rising.
const ROLES: [(Role, u32); 3] = [(Role::Viewer, 15_668), (Role::Operator, 15_680), (Role::Engineer, 16_036)];

/// What all may do with every node.
const ALL: u32 = BROWSE | READ | RECEIVE_EVENTS;

/// Who may do more with a node than look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nobody.
    Nothing,
    /// Nobody, and below engineer it is not read either.
    Secret,
    /// From this role on, write it.
    Write(Role),
    /// From this role on, call it.
    Call(Role),
}

impl More {
    /// Of a tag.
    pub fn of_tag(def: &TagDef) -> Self {
        if def.writable { Self::Write(def.write_role) } else { Self::Nothing }
    }

    fn bits(self, role: Role) -> u32 {
        let own = if role == Role::Engineer { ALL | READ_ROLE_PERMISSIONS } else { ALL };
        match self {
            Self::Write(least) if role >= least => own | WRITE,
            Self::Call(least) if role >= least => own | CALL,
            Self::Secret if role < Role::Engineer => own & !READ,
            Self::Nothing | Self::Secret | Self::Write(_) | Self::Call(_) => own,
        }
    }
}

/// Writes RolePermissions, those of the roles up to `up_to`, as a Variant.
pub fn write(more: More, up_to: Role, w: &mut Writer) {
    let roles: Vec<_> = ROLES.into_iter().filter(|(role, _)| *role <= up_to).collect();
    w.array(22, roles.len());
    for (role, id) in roles {
        w.extension(ROLE_PERMISSION, |w| {
            w.standard(id);
            w.u32(more.bits(role));
        });
    }
}

/// The least role that may call a method of the standard, named by its declaration; `None` for those that are not there.
pub const fn standard_method(id: u32) -> Option<Role> {
    match id {
        // Acknowledge, AddComment; Unshelve, OneShotShelve, TimedShelve of the state machine and as part of an alarm.
        9_111 | 9_029 | 2_947 | 2_948 | 2_949 | 9_211 | 9_212 | 9_213
        // The same with a comment; Reset, also with one.
        | 24_756 | 24_758 | 24_760 | 18_199 | 24_324 => Some(Role::Operator),
        // Enable, Disable; RemoveFromService, PlaceInService, also with a comment.
        9_027 | 9_028 | 17_869 | 17_870 | 24_320 | 24_322 => Some(Role::Engineer),
        // ConditionRefresh, ConditionRefresh2; GetMonitoredItems and ResendData of the Server object and its type.
        3_875 | 12_912 | 11_492 | 12_873 | 11_489 | 12_871 => Some(Role::Viewer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_grow_with_what_a_node_allows() {
        for (more, bits) in [
            (More::Nothing, [0x821, 0x821, 0x823]),
            (More::Secret, [0x801, 0x801, 0x823]),
            (More::Write(Role::Operator), [0x821, 0x861, 0x863]),
            (More::Write(Role::Engineer), [0x821, 0x821, 0x863]),
            (More::Call(Role::Operator), [0x821, 0x1821, 0x1823]),
        ] {
            assert_eq!(ROLES.map(|(role, _)| more.bits(role)), bits, "{more:?}");
        }
    }
}
