//! A function served to a VMM over vfio-user.
//!
//! One socket a function, one connection at a time. The protocol's parser is the `vfio_user` crate's, and it trusts
//! its peer: a hostile client can make it allocate or panic. The peer here is the VMM that runs the whole emulated
//! machine, which could do worse anyway; the guest's own writes arrive as data and are checked.

use super::function::Function;
use super::memory::Rights;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, Error, IrqInfo, Server, ServerBackend, ServerRegion};

/// A function's listening socket.
pub struct Port {
    server: Server,
    function: Arc<Function>,
}

impl Port {
    /// Listens at `path`. A socket that is left there from before is replaced; anything else is an error.
    pub fn listen(path: &Path, function: Arc<Function>) -> Result<Self, Error> {
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
            // A failure shows right below, as a path that exists.
            let _ = std::fs::remove_file(path);
        }
        let server = Server::new(path, true, irqs(&function), regions(&function))?;
        Ok(Self { server, function })
    }

    /// Serves connections one after the other. Ends only if the socket does.
    pub fn serve(&self) -> Error {
        loop {
            let served = self.server.run(&mut Backend(&self.function));
            self.function.disconnect();
            match served {
                Ok(()) => {}
                Err(error @ Error::SocketAccept(_)) => return error,
                Err(error) => {
                    tracing::warn!(function = self.function.bus().function(), %error, "a vfio-user connection ended");
                }
            }
        }
    }
}

fn regions(function: &Function) -> Vec<ServerRegion> {
    let region = |index| {
        let size = match index {
            0..=VFIO_PCI_BAR5_REGION_INDEX => function.bar_size(index as usize),
            VFIO_PCI_CONFIG_REGION_INDEX => super::config::SIZE as u64,
            _ => 0,
        };
        let access = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        ServerRegion {
            region_info: vfio_region_info {
                argsz: size_of::<vfio_region_info>() as u32,
                index,
                size,
                flags: if size > 0 { access } else { 0 },
                ..Default::default()
            },
            sparse_areas: Vec::new(),
            mmap_fd: None,
        }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}

fn irqs(function: &Function) -> Vec<IrqInfo> {
    let irq = |index| IrqInfo {
        index,
        flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
        count: if index == VFIO_PCI_MSIX_IRQ_INDEX {
            function.vectors().into()
        } else {
            0
        },
    };
    (0..VFIO_PCI_NUM_IRQS).map(irq).collect()
}

struct Backend<'a>(&'a Function);

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.0.read_config(offset as usize, data),
            bar => self.0.read_bar(bar as usize, offset, data),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.0.write_config(offset as usize, data),
            bar => self.0.write_bar(bar as usize, offset, data),
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        // Memory without a descriptor (ROMs, and all of it if it is no shared file) is out of the device's reach.
        let Some(file) = fd else { return Ok(()) };
        let rights = Rights {
            read: flags.contains(DmaMapFlags::READ),
            write: flags.contains(DmaMapFlags::WRITE),
        };
        tracing::trace!(function = self.0.bus().function(), address, size, offset, "map");
        self.0
            .bus()
            .remap(|memory| memory.map(address, size, offset, rights, file))
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        tracing::trace!(function = self.0.bus().function(), address, size, "unmap");
        self.0
            .bus()
            .remap(|memory| match flags.contains(DmaUnmapFlags::UNMAP_ALL) {
                true => memory.unmap(0, u64::MAX),
                false => memory.unmap(address, size),
            });
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0.reset();
        Ok(())
    }

    fn set_irqs(&mut self, index: u32, _: u32, start: u32, count: u32, fds: Vec<File>) -> io::Result<()> {
        if index == VFIO_PCI_MSIX_IRQ_INDEX {
            self.0.interrupts().wire(start as usize, count as usize, fds);
        }
        Ok(())
    }
}
