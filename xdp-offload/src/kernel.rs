//! The kernel calls that libbpf-rs does not make, or not with the flags that matter here.
//!
//! libbpf-rs attaches XDP without a mode, so that the kernel may choose the slow one in silence.
// UNSAFETY: libbpf's C functions; each call below owns what it passes for as long as the call lasts.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys as sys;

/// Which programs an interface runs, by kernel-wide ID; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Running {
    pub(crate) native: u32,
    pub(crate) generic: u32,
    pub(crate) hardware: u32,
}

/// Links `program` to an interface in the one mode that `flags` names. The link lives as long as the descriptor.
pub(crate) fn link_xdp(program: BorrowedFd<'_>, ifindex: i32, flags: u32) -> io::Result<OwnedFd> {
    let options = sys::bpf_link_create_opts {
        sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
        flags,
        ..Default::default()
    };
    // SAFETY: `options` says its own size and outlives the call, which keeps no pointer to it.
    let fd = check(unsafe { sys::bpf_link_create(program.as_raw_fd(), ifindex, sys::BPF_XDP, &options) })?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program behind a link, at once: each packet meets the old one or the new one.
pub(crate) fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open; null options are allowed.
    check(unsafe { sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) }).map(drop)
}

/// Takes the program off; the link stays as an empty shell until its descriptor is closed.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { sys::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// The kernel-wide ID of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = sys::bpf_prog_info::default();
    let mut length = size_of::<sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `length` bytes, all of which are `info`'s; its pointers are null and its
    // counts zero, so the kernel follows none.
    check(unsafe { sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut length) })?;
    Ok(info.id)
}

/// Which programs an interface runs.
pub(crate) fn running(ifindex: i32) -> io::Result<Running> {
    let mut options = sys::bpf_xdp_query_opts {
        sz: size_of::<sys::bpf_xdp_query_opts>() as sys::size_t,
        ..Default::default()
    };
    // SAFETY: `options` says its own size, and the call writes within it.
    check(unsafe { sys::bpf_xdp_query(ifindex, 0, &mut options) })?;
    Ok(Running {
        native: options.drv_prog_id,
        generic: options.skb_prog_id,
        hardware: options.hw_prog_id,
    })
}

/// Runs a program on one frame, on no interface, and returns its verdict and the mean time of `repeat` runs.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u16) -> io::Result<(u32, u32)> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len().try_into().map_err(too_long)?,
        repeat: i32::from(repeat),
        ..Default::default()
    };
    // SAFETY: the kernel reads `data_size_in` bytes of `frame`, which outlives the call, and writes within `options`;
    // the output pointers are null, so it writes nothing else.
    check(unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })?;
    Ok((options.retval, options.duration))
}

/// libbpf returns the negative error number.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}
