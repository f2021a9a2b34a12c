//! The site's file of intensities: filled from a provider, shown, and used to price anew.
//!
//! [`fetch`] is the only thing of this project that talks to the network, and only when asked to.

#[cfg(feature = "fetch")]
mod address;
#[cfg(feature = "fetch")]
mod client;
#[cfg(feature = "fetch")]
pub(crate) mod fetch;
mod file;
#[cfg(feature = "fetch")]
mod provider;
pub(crate) mod reprice;
pub(crate) mod show;
#[cfg(feature = "fetch")]
mod store;
#[cfg(feature = "fetch")]
mod token;
#[cfg(feature = "fetch")]
mod trust;

pub(crate) use file::carbon;

#[cfg(all(test, feature = "fetch"))]
mod tests;
