//! The documentation, and the tests that keep its words true
