//! Frames, layer by layer, for the tests of the program.
#![allow(dead_code)] // each test that includes this uses a part of it

/// Bytes that grow outward in: each method appends one header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame(Vec<u8>);

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

impl Frame {
    pub(crate) fn ethernet(kind: u16) -> Self {
        Self([&[0x02; 12][..], &kind.to_be_bytes()].concat())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The tag's control field, then the type of what follows.
    pub(crate) fn vlan(self, kind: u16) -> Self {
        self.raw(&[0, 7]).raw(&kind.to_be_bytes())
    }

    /// `words` is the header's length in 32-bit words; above 5 it has no-operation options.
    pub(crate) fn ipv4(
        self,
        source: [u8; 4],
        destination: [u8; 4],
        protocol: u8,
        words: u8,
        fragment: u16,
    ) -> Self {
        let header = [0x40 | words, 0, 0, 60, 0, 1];
        let options = vec![1; usize::from(words.saturating_sub(5)) * 4];
        self.raw(&header)
            .raw(&fragment.to_be_bytes())
            .raw(&[64, protocol, 0, 0])
            .raw(&source)
            .raw(&destination)
            .raw(&options)
    }

    pub(crate) fn v4(protocol: u8) -> Self {
        Self::ethernet(0x0800).ipv4([10, 1, 2, 3], [192, 0, 2, 1], protocol, 5, 0)
    }

    pub(crate) fn ipv6(self, source: u128, destination: u128, next: u8) -> Self {
        self.raw(&[0x60, 0, 0, 0, 0, 40, next, 64])
            .raw(&source.to_be_bytes())
            .raw(&destination.to_be_bytes())
    }

    pub(crate) fn v6(next: u8) -> Self {
        Self::ethernet(0x86dd).ipv6(0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 2, next)
    }

    /// An extension header of `length` further 8-byte units.
    pub(crate) fn extension(self, next: u8, length: u8) -> Self {
        self.raw(&[next, length])
            .raw(&vec![0; 6 + usize::from(length) * 8])
    }

    pub(crate) fn fragment_header(self, next: u8, offset_and_flags: u16) -> Self {
        self.raw(&[next, 0])
            .raw(&offset_and_flags.to_be_bytes())
            .raw(&[0; 4])
    }

    pub(crate) fn ports(self, source: u16, destination: u16) -> Self {
        self.raw(&source.to_be_bytes())
            .raw(&destination.to_be_bytes())
            .raw(&[0; 16])
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn cut(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }

    /// Ports, or an ICMP type, that rules of a test may know.
    pub(crate) fn layer4(self, seed: u64) -> Self {
        let port = |bits: u64| [0, 1, 3, 80, 79, 443, 0x0800, 0x8700][bits as usize & 7];
        self.ports(port(seed >> 16), port(seed >> 20))
    }

    /// One byte is another, if there is one.
    pub(crate) fn replaced(mut self, at: usize, byte: u8) -> Self {
        if let Some(place) = self.0.get_mut(at) {
            *place = byte;
        }
        self
    }
}
