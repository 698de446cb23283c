//! tidelockd, the untrusted courier and device owner, and the operator CLI tidelock
