//! The exchange over fakes of every port.

mod fakes;
mod identity;
mod laws;
mod permits;
mod undoing;
mod world;
