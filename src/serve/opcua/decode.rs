//! Requests: the header, and the list of services that exist here. Whatever is not in the list is answered
//! `Bad_ServiceUnsupported` without being looked at.

use super::wire::{Id, Read, Reader};

/// The header of a request (Part 4, 7.33). Its additional header is skipped, never decoded.
#[derive(Clone, Copy, Debug)]
pub struct RequestHeader<'a> {
    /// Names the session.
    pub token: Id<'a>,
    /// Returned with the answer.
    pub handle: u32,
    /// What the client calls this request in its own audit trail (Part 4, 6.5).
    pub audit_entry: &'a str,
    /// How long the client waits, in ms; zero for ever.
    pub timeout: u32,
}

impl<'a> RequestHeader<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(reader: &mut Reader<'a>) -> Read<Self> {
        let token = reader.id()?;
        reader.time()?;
        let handle = reader.u32()?;
        let _diagnostics = reader.u32()?;
        let audit_entry = reader.text()?;
        let timeout = reader.u32()?;
        reader.extension()?;
        Ok(Self { token, handle, audit_entry, timeout })
    }
}

/// The handle of a request that is malformed: zero when it breaks off, or breaks the rules, before it.
#[must_use]
pub fn handle(body: &[u8]) -> u32 {
    let mut reader = Reader::new(body);
    let mut read = || -> Read<u32> {
        let (_type, _token) = (reader.id()?, reader.id()?);
        reader.time()?;
        reader.u32()
    };
    read().unwrap_or(0)
}

macro_rules! services {
    ($($service:ident $request:literal $response:literal)*) => {
        /// The services of this server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Service { $($service,)* }

        impl Service {
            /// The service that the encoding `id` requests.
            #[must_use]
            pub const fn of(id: u32) -> Option<Self> {
                match id {
                    $($request => Some(Self::$service),)*
                    _ => None,
                }
            }

            /// The encoding of its response.
            #[must_use]
            pub const fn response(self) -> u32 {
                match self { $(Self::$service => $response,)* }
            }
        }
    };
}

services! {
    FindServers 422 425
    GetEndpoints 428 431
    CreateSession 461 464
    ActivateSession 467 470
    CloseSession 473 476
    Cancel 479 482
    Browse 527 530
    BrowseNext 533 536
    TranslateBrowsePaths 554 557
    RegisterNodes 560 563
    UnregisterNodes 566 569
    Read 631 634
    HistoryRead 664 667
    Write 673 676
    Call 712 715
    CreateMonitoredItems 751 754
    ModifyMonitoredItems 763 766
    SetMonitoringMode 769 772
    SetTriggering 775 778
    DeleteMonitoredItems 781 784
    CreateSubscription 787 790
    ModifySubscription 793 796
    SetPublishingMode 799 802
    Publish 826 829
    Republish 832 835
    TransferSubscriptions 841 844
    DeleteSubscriptions 847 850
}
