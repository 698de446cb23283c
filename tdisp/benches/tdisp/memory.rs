//! What each end keeps while a session is up, and what both have at most on the way there.

use crate::{
    counting::{Allocations, Counting},
    flow::{P384, whole},
    report::Report,
};
use serde_json::json;
use std::sync::Arc;
use tdisp::{
    clock::Instant,
    spdm::{Requester, Responder},
};

/// What a connection with one session may keep at each end, in bytes.
const KEPT_MAX: usize = 64 << 10;

pub(crate) fn run(report: &mut Report) {
    let suite = &*P384;
    let provider = Arc::new(Counting::default());
    suite.connect(true, &provider); // what is made once is made now
    let signer = provider.signer(&suite.signer);
    let configured = Allocations::freed(suite.responder(signer.clone(), provider.clone()));
    let (counted, (requester, responder)) = Allocations::counted(|| {
        let mut responder = suite.responder(signer, provider.clone());
        let mut requester = suite.requester(suite.trust(true), provider.clone());
        whole(&mut requester, |requester| carry(requester, &mut responder));
        (requester, responder)
    });
    let peak = counted.peak;
    let requester = Allocations::freed(requester) + size_of::<Requester>();
    let responder = Allocations::freed(responder) + size_of::<Responder>();
    println!("  {}, root pinned, one session, measured", suite.name);
    let rows = [
        ("requester keeps", requester),
        ("responder keeps", responder),
        ("  of which its configuration", configured),
        ("both at most on the way there", peak),
        ("an end may keep", KEPT_MAX),
    ];
    for (name, bytes) in rows {
        println!("  {name:<34} {bytes:>8} bytes");
    }
    assert!(
        requester.max(responder) <= KEPT_MAX,
        "an end keeps more than it may"
    );
    report.add(
        "memory",
        json!({
            "requester_bytes": requester,
            "responder_bytes": responder,
            "responder_configuration_bytes": configured,
            "peak_bytes_both": peak,
            "kept_max_bytes": KEPT_MAX,
        }),
    );
}

/// As in a flow, but what carries the objects keeps none.
fn carry(requester: &mut Requester, responder: &mut Responder) -> usize {
    let mut exchanges = 0;
    loop {
        let (mut request, mut response) = (Vec::new(), Vec::new());
        if !requester.poll_transmit(&mut request) {
            return exchanges;
        }
        responder.handle(Instant::START, &request);
        assert!(
            responder.poll_transmit(&mut response),
            "every request is answered"
        );
        requester.handle(Instant::START, &response);
        exchanges += 1;
    }
}
