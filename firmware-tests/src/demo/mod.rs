//! `./x demo`: the whole flow under emulation, and its report.

pub mod html;
pub mod report;
pub mod run;
pub mod text;
