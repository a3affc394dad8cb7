//! Who sees what at the page, and what changes nothing.

mod export;
mod follow;
mod hostile;
mod kit;
mod log;
mod matrix;
mod reach;
mod rights;
mod sessions;
mod shown;
