//! Subscriptions and monitored items (Part 4, 5.13 and 5.14), the client's side.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    Error,
    connection::Answer,
    data::{DataValue, Decoder},
    limits,
    message::{self, Response, skip_diagnostics},
    services::{Attribute, results},
    session::Session,
};
use crate::{
    tag::StatusCode,
    ua::wire::{Id, Malformed, Read, Reader, Timestamps, Writer},
};

const DATA_CHANGE_NOTIFICATION: u32 = 811;
const STATUS_CHANGE_NOTIFICATION: u32 = 820;
const DATA_CHANGE_FILTER: u32 = 724;
/// Notifications of all kinds in one message.
const MAX_KINDS: usize = 1_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How often changes are sent.
    pub interval: Duration,
    /// Intervals without a Publish until the subscription ends.
    pub lifetime: u32,
    /// Intervals without news until the server says that it is there.
    pub keep_alive: u32,
    /// Values in one message.
    pub notifications: u32,
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Granted {
    /// The subscription.
    pub id: u32,
    /// How often changes are sent.
    pub interval: Duration,
    /// Intervals without news until the server says that it is there.
    pub keep_alive: u32,
}

/// One item to be monitored.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is monitored.
    pub attribute: Attribute,
    /// Returned with each value.
    pub handle: u32,
    /// How often the server looks.
    pub sampling: Duration,
    /// Values that the server keeps; the oldest are discarded.
    pub queue: u32,
    /// Says that changes of status count, too: some servers without a filter report changes of the value only.
    pub filter: bool,
}

/// A message of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Its number; that of the next message for a keep-alive.
    pub sequence: u32,
    /// True when it carries nothing.
    pub keep_alive: bool,
    /// Values by client handle, in order.
    pub values: Vec<(u32, DataValue)>,
    /// The subscription ended with this code.
    pub ended: Option<StatusCode>,
}

impl Session {
    /// CreateSubscription.
    ///
    /// # Errors
    /// When the server does not answer or grants nothing.
    pub async fn subscribe(&self, wanted: Wanted) -> Result<Granted, Error> {
        let answer = self
            .call(message::CREATE_SUBSCRIPTION, |w| {
                w.f64(wanted.interval.as_secs_f64() * 1_000.0);
                w.u32(wanted.lifetime);
                w.u32(wanted.keep_alive);
                w.u32(wanted.notifications);
                w.boolean(true);
                w.u8(0);
            })
            .await?;
        let mut reader = answer.reader();
        let (id, interval) = (reader.u32()?, reader.f64()?);
        let (_lifetime, keep_alive) = (reader.u32()?, reader.u32()?);
        // Hours without a word are no subscription.
        let interval = Duration::try_from_secs_f64(interval / 1_000.0).ok().filter(|interval| *interval <= limits::LIFE);
        let interval = interval.ok_or_else(|| Error::broken("the granted publishing interval is not one"))?;
        Ok(Granted { id, interval, keep_alive })
    }

    /// CreateMonitoredItems; one code for each item.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn monitor(&self, subscription: u32, stamps: Timestamps, items: &[Item]) -> Result<Vec<StatusCode>, Error> {
        let answer = self
            .call(message::CREATE_MONITORED_ITEMS, |w| {
                w.u32(subscription);
                w.u32(stamps as u32);
                w.count(items.len());
                for item in items {
                    write_item(item, w);
                }
            })
            .await?;
        let mut reader = answer.reader();
        let count = results(&mut reader, items.len())?;
        let mut codes = Vec::with_capacity(count);
        for _ in 0..count {
            codes.push(StatusCode(reader.u32()?));
            // Its id and what was revised.
            let _revised = (reader.u32()?, reader.f64()?, reader.u32()?, reader.extension()?);
        }
        Ok(codes)
    }

    /// Asks for the next message and acknowledges earlier ones; the answer goes to `answers`.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn publish(
        &self,
        subscription: u32,
        acknowledged: &[u32],
        hint: Duration,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<(), Error> {
        self.post(message::PUBLISH, hint, answers, |w| {
            w.count(acknowledged.len());
            for sequence in acknowledged {
                w.u32(subscription);
                w.u32(*sequence);
            }
        })
        .await
    }

    /// Republish.
    ///
    /// # Errors
    /// When the server does not answer or does not have the message any more.
    pub async fn republish(&self, subscription: u32, sequence: u32) -> Result<Notification, Error> {
        let answer = self
            .call(message::REPUBLISH, |w| {
                w.u32(subscription);
                w.u32(sequence);
            })
            .await?;
        let notification = read_notification(&mut answer.reader())?;
        if notification.sequence != sequence {
            return Err(Error::broken("another message was republished than the one asked for"));
        }
        Ok(notification)
    }
}

/// The subscription and the message that a Publish answer carries.
///
/// # Errors
/// When it is malformed or too much.
pub fn published(answer: &Response) -> Result<(u32, Notification), Error> {
    let mut reader = answer.reader();
    let subscription = reader.u32()?;
    // What may be republished, and whether more is waiting: the numbers show it.
    for _ in 0..reader.count(4)? {
        reader.u32()?;
    }
    reader.boolean()?;
    Ok((subscription, read_notification(&mut reader)?))
}

fn read_notification(reader: &mut Reader<'_>) -> Read<Notification> {
    let sequence = reader.u32()?;
    reader.time()?;
    let kinds = reader.count(3)?;
    if kinds > MAX_KINDS {
        return Err(Malformed);
    }
    let mut notification = Notification { sequence, keep_alive: kinds == 0, values: Vec::new(), ended: None };
    let mut elements = limits::ELEMENTS;
    for _ in 0..kinds {
        let extension = reader.extension()?;
        let Some(body) = extension.body else { continue };
        match extension.type_id.standard() {
            Some(DATA_CHANGE_NOTIFICATION) => elements = read_values(body, elements, &mut notification.values)?,
            Some(STATUS_CHANGE_NOTIFICATION) => notification.ended = Some(StatusCode(Reader::new(body).u32()?)),
            // Events and whatever comes later: nobody asked for them.
            _ => {}
        }
    }
    Ok(notification)
}

/// Returns how many elements the message may still have.
fn read_values(body: &[u8], elements: usize, values: &mut Vec<(u32, DataValue)>) -> Read<usize> {
    let mut decoder = Decoder { reader: Reader::new(body), elements };
    let count = decoder.reader.count(5)?;
    if values.len() + count > limits::NOTIFICATIONS {
        return Err(Malformed);
    }
    for _ in 0..count {
        let handle = decoder.reader.u32()?;
        values.push((handle, decoder.data_value()?));
    }
    for _ in 0..decoder.reader.count(1)? {
        skip_diagnostics(&mut decoder.reader)?;
    }
    Ok(decoder.elements)
}

fn write_item(item: &Item, w: &mut Writer) {
    item.attribute.write(w);
    // Reporting.
    w.u32(2);
    w.u32(item.handle);
    w.f64(item.sampling.as_secs_f64() * 1_000.0);
    if item.filter {
        w.extension(Id::numeric(0, DATA_CHANGE_FILTER), |w| {
            // Status and value, no deadband.
            w.u32(1);
            w.u32(0);
            w.f64(0.0);
        });
    } else {
        w.0.extend_from_slice(&[0, 0, 0]);
    }
    w.u32(item.queue);
    w.boolean(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        tag::{Timestamp, Value},
        ua::client::data::Data,
    };

    fn message(write: impl FnOnce(&mut Writer)) -> Read<Notification> {
        let mut w = Writer::default();
        w.u32(3);
        w.u64(0);
        write(&mut w);
        read_notification(&mut Reader::new(&w.0))
    }

    #[test]
    fn what_nobody_asked_for_is_passed_over() {
        assert!(message(Writer::null).unwrap().keep_alive);
        let read = message(|w| {
            w.count(3);
            w.extension(Id::numeric(0, 916), |w| w.u8(255));
            w.extension(Id::numeric(0, DATA_CHANGE_NOTIFICATION), |w| {
                w.count(1);
                w.u32(7);
                w.u8(1);
                w.variant(&Value::Int32(5));
                w.count(1);
                w.u8(0);
            });
            w.extension(Id::numeric(0, STATUS_CHANGE_NOTIFICATION), |w| w.u32(0x800A_0000));
        });
        let read = read.unwrap();
        let value = DataValue {
            value: Data::Scalar(opcua::types::VariantScalarTypeId::Int32, Value::Int32(5)),
            status: StatusCode::GOOD,
            source_time: Timestamp::NULL,
        };
        assert_eq!((read.values, read.ended, read.keep_alive), (vec![(7, value)], Some(StatusCode::BAD_TIMEOUT), false));
    }

    #[test]
    fn more_values_than_anybody_sends_are_refused() {
        let many = |count: usize| {
            message(|w| {
                w.count(1);
                w.extension(Id::numeric(0, DATA_CHANGE_NOTIFICATION), |w| {
                    w.count(count);
                    w.0.resize(w.0.len() + count * 5, 0);
                    w.null();
                });
            })
        };
        assert_eq!(many(limits::NOTIFICATIONS).unwrap().values.len(), limits::NOTIFICATIONS);
        assert!(many(limits::NOTIFICATIONS + 1).is_err());
        assert!(message(|w| w.count(1 << 30)).is_err());
    }
}
