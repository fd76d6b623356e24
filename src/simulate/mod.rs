//! What stands in for the outside world in `simulate`, `demo` and tests.

#[cfg(feature = "modbus")]
pub mod modbus_plc;
#[cfg(feature = "twilio")]
pub mod twilio;
