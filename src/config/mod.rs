//! Text to [`Plan`](crate::engine::plan::Plan), or the full list of problems. Pure: no network, no clock; files and the
//! environment only in `folder`.

mod advice;
mod alarms;
mod book;
mod cycles;
mod devices;
pub mod driver;
pub mod duty;
mod events;
#[cfg(feature = "daemon")]
pub mod folder;
mod load;
mod operations;
mod parameters;
mod people;
mod pipeline;
pub mod problems;
pub mod reader;
#[cfg(all(test, feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report"))]
mod reference;
pub mod render;
mod retention;
mod rota;
mod script;
mod settings;
mod system;
mod tag_files;
mod tags;
pub mod text;
mod throttle;
mod twilio;
mod watching;
mod way;

pub use load::{File, Loaded, load, load_http, load_texts};
pub use problems::Problems;
pub use reader::Loader;
pub use settings::{
    HttpSettings, RedundancySettings, SecurityMode, SecurityPolicy, ServerLimits, ServerSettings, StoreLost, StoreSettings,
};
pub use tag_files::Texts;
