//! Answers as tables for people.

use std::io::{Result, Write};

use crate::{
    api::{Answer, Device, Identity, Status, Tdi},
    steps::Step,
};

pub(super) fn print(answer: &Answer, out: &mut impl Write) -> Result<()> {
    answer
        .status
        .as_ref()
        .map_or(Ok(()), |status| print_status(status, out))?;
    answer
        .device
        .as_ref()
        .map_or(Ok(()), |device| print_device(device, out))?;
    answer.tdi.as_ref().map_or(Ok(()), |tdi| print_tdi(tdi, out))?;
    answer
        .identity
        .as_ref()
        .map_or(Ok(()), |identity| print_identity(identity, out))
}

fn print_status(status: &Status, out: &mut impl Write) -> Result<()> {
    let ready = if status.ready { "ready" } else { "not ready" };
    writeln!(out, "tidelockd {}, {ready}", status.version)?;
    writeln!(
        out,
        "TSM      {} ({}): {}",
        status.tsm.state, status.tsm.backend, status.tsm.note
    )?;
    for line in &status.recovered {
        writeln!(out, "recovery {line}")?;
    }
    let mut rows = vec![row([
        "DEVICE",
        "BDF",
        "STATE",
        "CERTIFICATES",
        "MEASUREMENTS",
        "CONNECT",
    ])];
    rows.extend(status.devices.iter().map(device_row));
    columns(&rows, out)?;
    let mut rows = vec![row(["VM", "GUEST", "DEVICE", "STATE", "TDI", "REPORT"])];
    for vm in &status.vms {
        rows.extend(vm.tdis.iter().map(|tdi| tdi_row(&vm.id.to_string(), tdi)));
    }
    columns(&rows, out)
}

fn print_device(device: &Device, out: &mut impl Write) -> Result<()> {
    columns(
        &[
            row([
                "DEVICE",
                "BDF",
                "STATE",
                "CERTIFICATES",
                "MEASUREMENTS",
                "CONNECT",
            ]),
            device_row(device),
        ],
        out,
    )?;
    print_steps(&device.steps, out)
}

fn print_tdi(tdi: &Tdi, out: &mut impl Write) -> Result<()> {
    columns(
        &[
            row(["VM", "GUEST", "DEVICE", "STATE", "TDI", "REPORT"]),
            tdi_row("", tdi),
        ],
        out,
    )?;
    print_steps(&tdi.steps, out)
}

fn print_identity(identity: &Identity, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "device {} speaks SPDM {}, certificate slot {}",
        identity.device, identity.spdm, identity.slot
    )?;
    for subject in &identity.subjects {
        writeln!(out, "  certificate  {subject}")?;
    }
    writeln!(out, "  root SHA-384 {}", identity.root_sha384)?;
    for measured in &identity.measurements {
        writeln!(
            out,
            "  measurement  {:3} type {:#04x} {}",
            measured.index, measured.kind, measured.value
        )?;
    }
    writeln!(out, "{}", identity.note)
}

fn device_row(device: &Device) -> Vec<String> {
    let ms: f64 = device.steps.iter().map(|step| step.ms).sum();
    let connect = if device.steps.is_empty() {
        "-".into()
    } else {
        format!("{ms:.1} ms")
    };
    row([
        &device.name,
        &device.bdf,
        &device.state,
        &bytes(device.certificates_size),
        &bytes(device.measurements_size),
        &device
            .error
            .as_ref()
            .map_or(connect, |error| format!("failed: {error}")),
    ])
}

fn tdi_row(vm: &str, tdi: &Tdi) -> Vec<String> {
    let name = tdi.tdi.map_or("-".into(), |name| format!("{name:#x}"));
    let report = tdi
        .error
        .as_ref()
        .map_or(bytes(tdi.report_size), |error| format!("failed: {error}"));
    let device = format!("{} function {}", tdi.device, tdi.function);
    row([vm, &tdi.guest, &device, &tdi.state, &name, &report])
}

fn print_steps(steps: &[Step], out: &mut impl Write) -> Result<()> {
    let mut rows = vec![row(["STEP", "EXCHANGES", "MS"])];
    rows.extend(steps.iter().map(|step| {
        row([
            step.name.as_str(),
            &step.exchanges.to_string(),
            &format!("{:.2}", step.ms),
        ])
    }));
    columns(&rows, out)
}

fn bytes(size: usize) -> String {
    if size == 0 {
        "-".into()
    } else {
        format!("{size} bytes")
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Pads every column but the last to its widest cell.
fn columns(rows: &[Vec<String>], out: &mut impl Write) -> Result<()> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    for row in rows {
        let padded: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_tables() {
        let device = Device {
            name: "nic0".into(),
            bdf: "0000:01:00.0".into(),
            state: "connected".into(),
            certificates_size: 1500,
            ..Device::default()
        };
        let answer = Answer {
            device: Some(device),
            ..Answer::done()
        };
        let mut out = Vec::new();
        print(&answer, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted = "\
DEVICE  BDF           STATE      CERTIFICATES  MEASUREMENTS  CONNECT
nic0    0000:01:00.0  connected  1500 bytes    -             -
STEP  EXCHANGES  MS
";
        assert_eq!(text, wanted);
    }
}
