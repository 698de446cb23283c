//! The packet program of `[device.xdp]`, checked.

use super::{Fault, low};
use toml::Spanned;
use xdp_offload::{Conditions, Mode, Rule, Rules};

/// The packet program of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xdp {
    /// How it is attached; never anything else instead.
    pub mode: Mode,
    /// What it does.
    pub rules: Rules,
}

impl Xdp {
    pub(super) fn from_low(xdp: &low::Xdp) -> Result<Self, Fault> {
        let rules = xdp.rule.iter().map(rule).collect::<Result<_, _>>()?;
        let rules = Rules::new(xdp.default, xdp.non_ip, rules);
        let whole = xdp.rule.first().map_or(0..0, Spanned::span);
        Ok(Self {
            mode: xdp.mode,
            rules: rules.map_err(|error| Fault::at(whole, error.to_string()))?,
        })
    }
}

fn rule(written: &Spanned<low::Conditions>) -> Result<Rule, Fault> {
    let conditions = written.get_ref();
    let rule = Rule::new(Conditions {
        action: conditions.action,
        source: conditions.source,
        destination: conditions.destination,
        protocol: conditions.protocol,
        source_ports: conditions.source_ports,
        destination_ports: conditions.destination_ports,
        icmp_type: conditions.icmp_type,
    });
    rule.map_err(|error| Fault::at(written.span(), error.to_string()))
}
