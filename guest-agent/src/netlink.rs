//! Two requests of rtnetlink: an interface comes up, and it gets an address.
//!
//! A message is `nlmsghdr{u32 length, u16 type, u16 flags, u32 sequence, u32 port} ‖ body`, in the machine's own byte
//! order (`linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_addr.h`). The kernel answers each with one
//! `NLMSG_ERROR` whose first word is a negative error number, or 0.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::Ipv4Addr;

/// Brings interface `index` up.
pub fn up(index: u32) -> Result<(), Errno> {
    let mut body = vec![0; 4];
    put(&mut body, &[index, IFF_UP, IFF_UP]);
    ask(RTM_NEWLINK, 0, &body)
}

/// Gives interface `index` an IPv4 address; one that it has already is no error.
pub fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Errno> {
    let mut body = vec![AF_INET, prefix, 0, 0];
    put(&mut body, &[index]);
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend_from_slice(&8u16.to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(&address.octets());
    }
    ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

fn ask(kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // 0 is NETLINK_ROUTE
    )?;
    let size = u32::try_from(HEADER_SIZE + body.len()).map_err(|_| Errno::MSGSIZE)?;
    let mut message = Vec::new();
    put(&mut message, &[size]);
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    put(&mut message, &[1, 0]);
    message.extend_from_slice(body);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (size, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    outcome(answer.get(..size).unwrap_or(&answer))
}

fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let field = |at: usize| {
        answer
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_ne_bytes)
    };
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    match (kind, field(HEADER_SIZE)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(error.saturating_neg())),
        _ => Err(Errno::PROTO),
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    words
        .iter()
        .for_each(|word| out.extend_from_slice(&word.to_ne_bytes()));
}

const HEADER_SIZE: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_that_there_is_no_such_interface() {
        // Without the right to change interfaces it says so before it looks for one.
        let error = up(0x7fff_fff0).unwrap_err();
        assert!([Errno::NODEV, Errno::PERM].contains(&error), "{error}");
    }

    #[test]
    fn an_answer_that_is_none_is_a_protocol_error() {
        assert_eq!(outcome(&[]), Err(Errno::PROTO));
        assert_eq!(outcome(&[0; 19]), Err(Errno::PROTO));
    }
}
