//! tidelock-agent: collects, verifies, appraises and accepts devices inside the confidential VM
