//! The verifier against an issuer that listens on loopback, with keys made for the test.

#[cfg(test)]
mod assertions;
#[cfg(test)]
mod away;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod certified;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod dpop;
#[cfg(test)]
mod fetching;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod id_jag;
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
#[cfg(test)]
mod pki;
#[cfg(test)]
mod spiffe;
#[cfg(test)]
mod test_key;
#[cfg(test)]
mod workloads;
