//! The verifier against an issuer that listens on loopback, with keys made for the test.

#[cfg(test)]
mod cache;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod fetching;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod id_tokens;
#[cfg(test)]
mod introspection;
#[cfg(test)]
mod issuers;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kit;
