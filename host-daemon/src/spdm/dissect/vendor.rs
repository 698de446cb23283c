//! VENDOR_DEFINED_REQUEST and its response, and in them the PCI-SIG's IDE_KM (PCIe §6.33.3) and TDISP (PCIe §11.3).

use tdisp::{
    ide_km::msg::{KeySub, ObjectId, Status},
    spdm::msg::{Header, Version, vendor::PCI_SIG_VENDOR},
    tdi::msg::{Code, ErrorCode, InterfaceId, PAGE_SIZE, State},
    wire::DecodeError,
};

use crate::spdm::{
    field::{Field, Walk},
    names,
};

pub(super) fn defined(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    let registry = w.u16("StandardID")?;
    w.means(names::value(registry.into(), names::REGISTRY));
    let size = w.u8("VendorIDLen")?;
    let vendor = w.bytes("VendorID", size.into())?;
    if let [low, high] = vendor {
        w.means(format!("{high:02x}{low:02x}"));
    }
    let length = if header.version >= Version::V1_4 && header.param1 & 0x80 != 0 {
        w.u16("ReservedLength")?;
        w.u32("PayloadLength")?
    } else {
        w.u16("PayloadLength")?.into()
    };
    w.bytes("Payload", length as usize)?;
    if registry == 3 && vendor == PCI_SIG_VENDOR {
        w.inside(pci_sig);
    }
    Ok(())
}

fn pci_sig(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let protocol = w.u8("ProtocolID")?;
    w.means(names::value(protocol.into(), &[(0, "IDE_KM"), (1, "TDISP")]));
    match protocol {
        0 => ide_km(w),
        1 => tdisp(w),
        _ => {
            w.rest("Object");
            Ok(())
        }
    }
}

fn ide_km(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let id = ObjectId(w.u8("ObjectID")?);
    w.means(id.to_string());
    match id {
        ObjectId::QUERY => {
            w.reserved(1)?;
            w.u8("PortIndex").map(drop)
        }
        ObjectId::QUERY_RESP => query_response(w),
        ObjectId::KEY_PROG => {
            w.reserved(2)?;
            w.u8("StreamID")?;
            w.reserved(1)?;
            key_sub(w)?;
            w.u8("PortIndex")?;
            w.bytes("Key", 32)?;
            w.means("8 DW, each reversed against AES's order");
            w.bytes("IFV", 8).map(drop)
        }
        ObjectId::KP_ACK => {
            w.reserved(2)?;
            w.u8("StreamID")?;
            let status = w.u8("Status")?;
            w.means(Status(status).to_string());
            key_sub(w)?;
            w.u8("PortIndex").map(drop)
        }
        ObjectId::K_SET_GO | ObjectId::K_SET_STOP | ObjectId::K_GOSTOP_ACK => {
            w.reserved(2)?;
            w.u8("StreamID")?;
            w.reserved(1)?;
            key_sub(w)?;
            w.u8("PortIndex").map(drop)
        }
        _ => {
            w.rest("Body");
            Ok(())
        }
    }
}

fn key_sub(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let key = KeySub(w.u8("KeySub")?);
    w.means(format!(
        "key set {}, {:?}, sub-stream {}",
        u8::from(key.key_set()),
        key.direction(),
        key.sub_stream()
    ));
    Ok(())
}

fn query_response(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.reserved(1)?;
    w.u8("PortIndex")?;
    let function = w.u8("DevFunc")?;
    w.means(format!("{:02x}.{}", function >> 3, function & 7));
    w.u8("Bus")?;
    w.u8("Segment")?;
    w.u8("MaxPortIndex")?;
    let capability = w.u32("IDECapability")?;
    w.means(names::bits(
        u64::from(capability & 0xffff_0000 | capability & 0xff),
        &[
            (0, "link"),
            (1, "selective"),
            (2, "flow-through"),
            (3, "partial header encryption"),
            (4, "aggregation"),
            (5, "PCRC"),
            (6, "IDE_KM"),
            (7, "selective configuration"),
            (24, "TEE-limited"),
        ],
    ));
    w.u32("IDEControl")?;
    w.rest("StreamRegisters");
    Ok(())
}

fn tdisp(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let version = w.u8("TDISPVersion")?;
    w.means(format!("{}.{}", version >> 4, version & 0xf));
    let code = Code(w.u8("MessageType")?);
    w.means(code.to_string());
    w.reserved(2)?;
    let function = w.u32("FunctionID")?;
    w.means(InterfaceId { function }.to_string());
    w.reserved(8)?;
    match code {
        Code::VERSION => {
            let count = w.u8("VersionNumCount")?;
            (0..count).try_for_each(|_| w.u8("VersionNumEntry").map(drop))
        }
        Code::GET_CAPABILITIES => w.u32("TSMCaps").map(drop),
        Code::CAPABILITIES => capabilities(w),
        Code::LOCK => lock(w),
        Code::LOCK_RESPONSE | Code::START => w.bytes("StartInterfaceNonce", 32).map(drop),
        Code::GET_REPORT => {
            w.u16("Offset")?;
            w.u16("Length").map(drop)
        }
        Code::REPORT => {
            let portion = w.u16("PortionLength")?;
            w.u16("RemainderLength")?;
            w.bytes("ReportBytes", portion.into()).map(drop)
        }
        Code::STATE => {
            let state = State(w.u8("TDIState")?);
            w.means(state.to_string());
            Ok(())
        }
        Code::BIND_P2P | Code::UNBIND_P2P => w.u8("StreamID").map(drop),
        Code::SET_MMIO_ATTRIBUTE => w.group("MMIORange", range),
        Code::VDM | Code::VDM_RESPONSE => vdm(w),
        Code::ERROR => {
            let error = w.u32("ErrorCode")?;
            w.means(ErrorCode(error).to_string());
            let data = w.u32("ErrorData")?;
            if ErrorCode(error) == ErrorCode::UNSUPPORTED_REQUEST {
                w.means(Code(data as u8).to_string());
            }
            w.rest("ExtendedErrorData");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn capabilities(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.u32("DSMCaps")?;
    let requests = w.bytes("ReqMsgsSupported", 16)?;
    let low = requests
        .iter()
        .take(2)
        .rev()
        .fold(0u64, |mask, byte| mask << 8 | u64::from(*byte));
    let named: Vec<_> = (1..16)
        .filter(|bit| low >> bit & 1 == 1)
        .map(|bit| Code(0x80 | bit as u8).to_string())
        .collect();
    w.means(named.join(" "));
    let flags = w.u16("LockInterfaceFlagsSupported")?;
    w.means(names::bits(flags.into(), names::LOCK_FLAGS));
    w.reserved(3)?;
    let width = w.u8("DevAddrWidth")?;
    w.means(format!("{width} bits"));
    w.u8("NumReqThis")?;
    w.u8("NumReqAll").map(drop)
}

fn lock(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let flags = w.u16("Flags")?;
    w.means(names::bits(flags.into(), names::LOCK_FLAGS));
    w.u8("DefaultStreamID")?;
    w.reserved(1)?;
    w.u64("MMIOReportingOffset")?;
    w.u64("BindP2PAddressMask").map(drop)
}

fn vdm(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let registry = w.u8("RegistryID")?;
    w.means(names::value(registry.into(), &[(0, "PCI-SIG"), (1, "CXL")]));
    let size = w.u8("VendorIDLen")?;
    w.bytes("VendorID", size.into())?;
    w.rest("VendorData");
    Ok(())
}

fn range(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let first = w.u64("First4KPage")?;
    w.means(format!("from {:#x}", first.wrapping_mul(PAGE_SIZE)));
    let pages = w.u32("NumberOf4KPages")?;
    w.means(format!("{} bytes", u64::from(pages) * PAGE_SIZE));
    let attributes = w.u16("RangeAttributes")?;
    w.means(names::bits(attributes.into(), names::RANGE));
    let id = w.u16("RangeID")?;
    w.means(format!("BAR {id}"));
    Ok(())
}

/// A device interface report that is complete (PCIe §11.3.11), and what is wrong with it.
pub fn report(bytes: &[u8]) -> (Vec<Field>, Option<String>) {
    let mut walk = Walk::new(bytes, 0);
    let result = whole_report(&mut walk);
    let fault = result
        .err()
        .or_else(|| tdisp::tdi::report::Report::decode(bytes).err())
        .map(|error| error.to_string());
    (walk.into_fields(), fault)
}

fn whole_report(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let info = w.u16("InterfaceInfo")?;
    w.means(names::bits(info.into(), names::INTERFACE_INFO));
    w.reserved(2)?;
    w.u16("MSIXMessageControl")?;
    w.u16("LNRControl")?;
    w.u32("TPHControl")?;
    let count = w.u32("MMIORangeCount")?;
    for _ in 0..count {
        w.group("MMIORange", range)?;
    }
    let length = w.u32("DeviceSpecificInfoLen")?;
    let bytes = w.bytes("DeviceSpecificInfo", length as usize)?;
    w.means(super::opaque::text(bytes).unwrap_or_default());
    Ok(())
}
