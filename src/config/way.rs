//! Where a table stands in the configuration, such as `tag.alarm`, so that readers can tell the reference which keys there are and
//! what they take. Outside tests, and without the drivers, it is nothing and does nothing.

#[cfg(not(all(test, feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report")))]
pub(super) use self::silent::Way;
#[cfg(all(test, feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report"))]
pub(super) use self::telling::Way;

#[cfg(all(test, feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report"))]
mod telling {
    use crate::config::reference;

    #[derive(Clone)]
    pub struct Way(String);

    impl Way {
        /// A whole file.
        pub const fn root() -> Self {
            Self(String::new())
        }

        /// No part of the configuration.
        pub fn elsewhere() -> Self {
            Self(reference::ELSEWHERE.to_owned())
        }

        /// The table at `key`.
        pub fn below(&self, key: &str) -> Self {
            Self(reference::below(&self.0, key))
        }

        /// One kind of this table.
        pub fn of_kind(&self, kind: &str) -> Self {
            Self(format!("{} ({kind})", self.0))
        }

        /// `key` may be here.
        pub fn tell(&self, key: &str, takes: impl FnOnce() -> String) {
            reference::tell(&self.0, key, takes);
        }
    }
}

#[cfg(not(all(test, feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report")))]
#[allow(clippy::unused_self, clippy::trivially_copy_pass_by_ref)]
mod silent {
    #[derive(Clone, Copy)]
    pub struct Way;

    impl Way {
        pub const fn root() -> Self {
            Self
        }

        pub const fn elsewhere() -> Self {
            Self
        }

        pub const fn below(&self, _: &str) -> Self {
            Self
        }

        pub const fn of_kind(&self, _: &str) -> Self {
            Self
        }

        pub fn tell(&self, _: &str, _: impl FnOnce() -> String) {}
    }
}
