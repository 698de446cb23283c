//! Follows the objects of a recording from one to the next and opens those that are secured.

use super::{Conversation, field, th_through_finish};
use libtest_mimic::Failed;
use std::collections::HashMap;
use tdisp::{
    crypto::{Provider, Ring, Secret},
    spdm::{
        key_schedule::Directions,
        msg::Version,
        secured::{self, Half, Protection, Record},
        transcript::Transcript,
        transport::Kind,
    },
};

/// Follows the objects of a file.
pub(crate) struct Replay<'a> {
    c: &'a Conversation,
    /// The open sessions whose secrets are known.
    sessions: HashMap<u32, Session>,
    /// What the first session's records held.
    pub(crate) first: Vec<[Vec<u8>; 2]>,
    pub(crate) records: usize,
    pub(crate) unknown: usize,
}

struct Session {
    is_first: bool,
    handshake_secret: Secret,
    th: Transcript,
    request: Half,
    response: Half,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(c: &'a Conversation) -> Self {
        Self {
            c,
            sessions: HashMap::new(),
            first: Vec::new(),
            records: 0,
            unknown: 0,
        }
    }

    pub(crate) fn pair(
        &mut self,
        request: &(Option<Kind>, Vec<u8>),
        response: &(Option<Kind>, Vec<u8>),
    ) -> Result<(), Failed> {
        match (request.0, response.0) {
            (Some(Kind::Clear), Some(Kind::Clear)) => self.plain(&request.1, &response.1),
            (Some(Kind::Record), Some(Kind::Record)) => self.secured(&request.1, &response.1),
            _ => Ok(()),
        }
    }

    fn plain(&mut self, request: &[u8], response: &[u8]) -> Result<(), Failed> {
        match request[1] {
            0xe4 => self.key_exchange(request, response),
            0xe6 => self.psk_exchange(request, response),
            0xe5 => match self.sessions.values_mut().find(|session| session.is_first) {
                Some(first) => first.apply(self.c, th_through_finish(self.c)?),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A session is known if its shared secret was recorded; otherwise its id is forgotten.
    fn key_exchange(&mut self, request: &[u8], response: &[u8]) -> Result<(), Failed> {
        let id = session_id(request, response)?;
        self.sessions.remove(&id);
        let exchange = self.c.exchange()?;
        if request.starts_with(exchange.request) {
            let shared = Secret::new(self.c.value("dhe")?.to_vec());
            let secret = self.c.schedule().handshake_secret(&shared);
            let session = Session::new(self.c, true, secret, self.c.th1()?)?;
            self.sessions.insert(id, session);
        }
        Ok(())
    }

    /// The session on a pre-shared key. The key went through the first session: it is the key material of its CXL TSP
    /// SET_CONFIGURATION message, and is found by the proof that it gives.
    fn psk_exchange(&mut self, request: &[u8], response: &[u8]) -> Result<(), Failed> {
        let (c, size) = (self.c, self.c.hash_size());
        let id = session_id(request, response)?;
        let request = &request[..12 + field(request, 6)? + field(request, 8)? + field(request, 10)?];
        let summary = if request[2] != 0 { size } else { 0 };
        let unsigned = 12 + summary + field(response, 8)? + field(response, 10)?;
        let verify = &response[unsigned..unsigned + size];
        let mut th = c.transcript(&[c.value("A")?, request, &response[..unsigned]]);
        let th1 = th.digest();
        let salt = vec![if c.is.version < Version::V1_3 { 0 } else { 0xff }; size];
        let keys = self.first.iter().flat_map(|pair| pair[0].windows(32));
        for key in keys {
            let secret = Ring.hmac(c.is.hash, &salt, &[key]);
            let response = c.schedule().handshake(&secret, &th1).response;
            if c.schedule().verify_data(&response, &th1).expose() == verify {
                let mut session = Session::new(c, false, secret, th.clone())?;
                th.add(verify);
                session.th = th;
                self.sessions.insert(id, session);
                return Ok(());
            }
        }
        Err("no pre-shared key in the first session".into())
    }

    fn secured(&mut self, request: &[u8], response: &[u8]) -> Result<(), Failed> {
        let (mut request, mut response) = (request.to_vec(), response.to_vec());
        let transport = self.c.is.transport;
        let record = |bytes| Record::decode(transport, bytes);
        let records = [record(&mut request)?, record(&mut response)?];
        self.records += 2;
        let Some(session) = self.sessions.get_mut(&records[0].session) else {
            self.unknown += 2;
            return Ok(());
        };
        let pair = session.open(self.c, records)?;
        if session.is_first {
            self.first.push(pair.clone());
        }
        match pair[0][1] {
            0xe5 => session.apply(self.c, th_through_finish(self.c)?),
            0xe7 => {
                pair.iter().for_each(|message| session.th.add(message));
                session.apply(self.c, session.th.clone())
            }
            _ => Ok(()),
        }
    }
}

fn session_id(request: &[u8], response: &[u8]) -> Result<u32, Failed> {
    let [requester, responder] = [field(request, 4)?, field(response, 4)?];
    Ok(secured::session_id(requester.try_into()?, responder.try_into()?))
}

impl Session {
    fn new(
        c: &Conversation,
        is_first: bool,
        handshake_secret: Secret,
        th: Transcript,
    ) -> Result<Self, Failed> {
        let directions = c.schedule().handshake(&handshake_secret, &th.digest());
        let (request, response) = halves(c, directions)?;
        Ok(Self {
            is_first,
            handshake_secret,
            th,
            request,
            response,
        })
    }

    /// Goes over to the application's keys.
    fn apply(&mut self, c: &Conversation, th2: Transcript) -> Result<(), Failed> {
        let master = c.schedule().master_secret(&self.handshake_secret);
        (self.request, self.response) = halves(c, c.schedule().application(&master, &th2.digest()))?;
        Ok(())
    }

    /// Opens a request and its response; the keys change where KEY_UPDATE says.
    fn open(&mut self, c: &Conversation, records: [Record<'_>; 2]) -> Result<[Vec<u8>; 2], Failed> {
        let [request, response] = records;
        let request = self.request.open_any(request)?.1.to_vec();
        let [update_key, update_all] = [1, 2].map(|operation| request[1] == 0xe9 && request[2] == operation);
        if update_key || update_all {
            self.request = self.request.updated(&c.schedule())?;
        }
        if update_all {
            self.response = self.response.updated(&c.schedule())?;
        }
        let response = self.response.open_any(response)?.1.to_vec();
        Ok([request, response])
    }
}

fn halves(c: &Conversation, directions: Directions) -> Result<(Half, Half), Failed> {
    let protection = Protection {
        transport: c.is.transport,
        ..Protection::new(c.is.aead)
    };
    let half = |secret| Half::new(&c.schedule(), protection, secret);
    Ok((half(directions.request)?, half(directions.response)?))
}
