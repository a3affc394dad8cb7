//! Who sees what at the page, and what changes nothing.

mod kit;
mod rights;
mod sessions;
mod shown;
