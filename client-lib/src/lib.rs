//! client-lib
