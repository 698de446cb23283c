//! The documentation, and what keeps its words true.
//!
//! The pages are the `.md` files beside this crate. Its tests are the rules of the house: `tests/tidy.rs` reads the
//! sources and the pages, `tests/supply.rs` reads what is built from other people's code. This library is what both
//! need to read them with; it judges nothing.
//!
//! A page with an example in Rust is included here with `#[doc = include_str!(..)]`, so that the example is compiled.

pub mod page;
pub mod repository;
pub mod source;
pub mod spdx;
