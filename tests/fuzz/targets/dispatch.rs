//! A whole server in this process, and one request after another to its services, in one session without security. The first byte
//! says what the rest is: the body of a request of some service, or a message from its type id on.

#![no_main]

#[path = "../../it/support/bytes.rs"]
#[allow(dead_code)]
mod bytes;
#[path = "../../it/support/plant.rs"]
#[allow(dead_code)]
mod plant;
#[path = "../../it/support/requests.rs"]
#[allow(dead_code)]
mod requests;
mod world;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use world::World;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    WORLD.with_borrow_mut(|world| world.get_or_insert_with(World::new).try_out(data));
});
