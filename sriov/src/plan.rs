//! From what is to what should be, as steps that can be read before any is taken. Pure.
//!
//! The kernel lets the number of VFs change only to and from 0, so a change of it destroys every VF there is.
//! That is why a plan can be refused: a VF that is leased to a VM is destroyed only if the caller said so.
//!
//! ```text
//! count differs:  autoprobe off ─► (driver off each VF) ─► count 0 ─► count N ─► bind each
//! count right:                                                      bind those whose driver differs
//! ```
//! Autoprobe goes off first, so that no host driver touches a new VF before its owner says which may.

use std::fmt;

use crate::Bdf;

/// A physical function and its VFs as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The physical function.
    pub pf: Bdf,
    /// How many VFs the device can have (`sriov_totalvfs`).
    pub total: u16,
    /// Whether the kernel offers new VFs to drivers by itself (`sriov_drivers_autoprobe`).
    pub autoprobe: bool,
    /// The VFs there are; the place is the VF's index.
    pub vfs: Vec<ObservedVf>,
}

/// A VF as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVf {
    /// Its address.
    pub bdf: Bdf,
    /// Its driver.
    pub driver: Option<String>,
    /// True if it is promised to a VM.
    pub leased: bool,
}

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// How many VFs.
    pub count: u16,
    /// The driver that each should have; `None` leaves drivers as they are (a new VF has none).
    pub driver: Option<String>,
    /// True if leased VFs may be destroyed or taken from their driver.
    pub allow_destroy: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The kernel no more offers new VFs to drivers by itself.
    AutoprobeOff,
    /// A VF is taken from its driver.
    Unbind {
        /// The VF's index, from 0.
        index: u16,
        /// Its address.
        bdf: Bdf,
        /// The driver that loses it.
        driver: String,
    },
    /// The number of VFs changes; one of both is 0.
    Count {
        /// How many there were.
        from: u16,
        /// How many there shall be.
        to: u16,
    },
    /// A VF gets a driver. Its address is not known before the VF exists.
    Bind {
        /// The VF's index, from 0.
        index: u16,
        /// The driver.
        driver: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AutoprobeOff => write!(f, "stop offering new VFs to host drivers"),
            Self::Unbind { index, bdf, driver } => write!(f, "take VF {index} ({bdf}) from {driver}"),
            Self::Count { from, to: 0 } => write!(f, "destroy all {from} VFs"),
            Self::Count { to, .. } => write!(f, "create {to} VFs"),
            Self::Bind { index, driver } => write!(f, "bind VF {index} to {driver}"),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The device has not so many.
    #[error("{wanted} VFs wanted on {pf}, which can have {total}: ask for at most that many")]
    TooMany {
        /// The physical function.
        pf: Bdf,
        /// How many were wanted.
        wanted: u16,
        /// How many it can have.
        total: u16,
    },
    /// The number of VFs can only change through 0, and VMs hold some.
    #[error(
        "changing {pf} from {from} to {to} VFs destroys all {from}, and VMs hold {}: \
         end these leases first, or allow it explicitly",
        list(leased)
    )]
    DestroysLeased {
        /// The physical function.
        pf: Bdf,
        /// How many VFs there are.
        from: u16,
        /// How many were wanted.
        to: u16,
        /// The VFs that VMs hold.
        leased: Vec<Bdf>,
    },
    /// A VF that a VM holds has another driver than wanted.
    #[error(
        "{vf} is leased to a VM and has {}, not {wanted}: end its lease first, or allow it explicitly",
        found.as_deref().unwrap_or("no driver")
    )]
    RebindsLeased {
        /// The VF.
        vf: Bdf,
        /// Its driver.
        found: Option<String>,
        /// The driver that was wanted.
        wanted: String,
    },
}

/// The steps that lead from `observed` to `desired`; none if they agree.
///
/// # Errors
/// A [`Refusal`] names what stands in the way and how to go on.
pub fn plan(observed: &Observed, desired: &Desired) -> Result<Vec<Step>, Refusal> {
    if desired.count > observed.total {
        return Err(Refusal::TooMany {
            pf: observed.pf,
            wanted: desired.count,
            total: observed.total,
        });
    }
    if observed.count() == desired.count {
        return rebind(observed, desired);
    }
    recreate(observed, desired)
}

fn recreate(observed: &Observed, desired: &Desired) -> Result<Vec<Step>, Refusal> {
    let (pf, from, to) = (observed.pf, observed.count(), desired.count);
    let leased: Vec<Bdf> = observed
        .vfs
        .iter()
        .filter(|vf| vf.leased)
        .map(|vf| vf.bdf)
        .collect();
    if !leased.is_empty() && !desired.allow_destroy {
        return Err(Refusal::DestroysLeased { pf, from, to, leased });
    }
    let mut steps = Vec::new();
    if observed.autoprobe && to > 0 {
        steps.push(Step::AutoprobeOff);
    }
    steps.extend(observed.indexed().filter_map(|(index, vf)| unbind(index, vf)));
    if from > 0 {
        steps.push(Step::Count { from, to: 0 });
    }
    if to > 0 {
        steps.push(Step::Count { from: 0, to });
    }
    let binds = |driver: &String| {
        (0..to)
            .map(|index| Step::Bind {
                index,
                driver: driver.clone(),
            })
            .collect()
    };
    steps.extend(desired.driver.as_ref().map_or_else(Vec::new, binds));
    Ok(steps)
}

fn rebind(observed: &Observed, desired: &Desired) -> Result<Vec<Step>, Refusal> {
    let Some(wanted) = &desired.driver else {
        return Ok(Vec::new());
    };
    let mut steps = Vec::new();
    for (index, vf) in observed
        .indexed()
        .filter(|(_, vf)| vf.driver.as_ref() != Some(wanted))
    {
        if vf.leased && !desired.allow_destroy {
            let (found, wanted) = (vf.driver.clone(), wanted.clone());
            return Err(Refusal::RebindsLeased {
                vf: vf.bdf,
                found,
                wanted,
            });
        }
        steps.extend(unbind(index, vf));
        steps.push(Step::Bind {
            index,
            driver: wanted.clone(),
        });
    }
    Ok(steps)
}

fn unbind(index: u16, vf: &ObservedVf) -> Option<Step> {
    let driver = vf.driver.clone()?;
    Some(Step::Unbind {
        index,
        bdf: vf.bdf,
        driver,
    })
}

impl Observed {
    /// How many VFs there are.
    pub fn count(&self) -> u16 {
        u16::try_from(self.vfs.len()).unwrap_or(u16::MAX)
    }

    fn indexed(&self) -> impl Iterator<Item = (u16, &ObservedVf)> {
        (0..).zip(&self.vfs)
    }
}

fn list(addresses: &[Bdf]) -> String {
    addresses
        .iter()
        .map(Bdf::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::apply::{Kernel, apply};
    use proptest::prelude::*;

    /// A kernel that keeps the rules of the real one: counts change through 0, drivers take free VFs only.
    struct Fake(Observed);

    impl Kernel for Fake {
        fn autoprobe_off(&mut self, _: Bdf) -> Result<(), Error> {
            self.0.autoprobe = false;
            Ok(())
        }
        fn set_count(&mut self, pf: Bdf, count: u16) -> Result<(), Error> {
            assert!(count == 0 || self.0.vfs.is_empty(), "EBUSY");
            assert!(
                count == 0 || !self.0.autoprobe,
                "a host driver would take the new VFs"
            );
            let vf = |i| ObservedVf {
                bdf: Bdf::from_rid(0, pf.rid() + 1 + i),
                driver: None,
                leased: false,
            };
            self.0.vfs = (0..count).map(vf).collect();
            Ok(())
        }
        fn bind(&mut self, _: Bdf, index: u16, driver: &str) -> Result<(), Error> {
            let vf = &mut self.0.vfs[usize::from(index)];
            assert_eq!(vf.driver, None);
            vf.driver = Some(driver.to_owned());
            Ok(())
        }
        fn unbind(&mut self, _: Bdf, index: u16) -> Result<(), Error> {
            self.0.vfs[usize::from(index)].driver = None;
            Ok(())
        }
    }

    fn driver() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            Just(Some("vfio-pci".to_owned())),
            Just(Some("igbvf".to_owned()))
        ]
    }

    fn observed() -> impl Strategy<Value = Observed> {
        let vfs = proptest::collection::vec((driver(), any::<bool>()), 0..9);
        (vfs, 0..9u16, any::<bool>()).prop_map(|(vfs, spare, autoprobe)| {
            let vf = |(i, (driver, leased)): (u16, _)| ObservedVf {
                bdf: Bdf::from_rid(0, 0x101 + i),
                driver,
                leased,
            };
            let vfs: Vec<_> = (0..).zip(vfs).map(vf).collect();
            Observed {
                pf: Bdf::from_rid(0, 0x100),
                total: vfs.len() as u16 + spare,
                autoprobe,
                vfs,
            }
        })
    }

    fn desired() -> impl Strategy<Value = Desired> {
        (0..12u16, driver(), any::<bool>()).prop_map(|(count, driver, allow_destroy)| Desired {
            count,
            driver,
            allow_destroy,
        })
    }

    proptest! {
        #[test]
        fn a_plan_taken_leads_to_what_was_desired_and_then_there_is_nothing_left_to_do(
            observed in observed(), desired in desired()
        ) {
            if let Ok(steps) = plan(&observed, &desired) {
                let mut kernel = Fake(observed.clone());
                prop_assert_eq!(apply(&mut kernel, observed.pf, &steps), Ok(()));
                prop_assert_eq!(kernel.0.count(), desired.count);
                let wrong = |vf: &ObservedVf| desired.driver.is_some() && vf.driver != desired.driver;
                prop_assert!(!kernel.0.vfs.iter().any(wrong));
                prop_assert_eq!(plan(&kernel.0, &desired), Ok(vec![]));
            }
        }

        #[test]
        fn no_plan_touches_a_leased_vf_unless_it_was_allowed(observed in observed(), desired in desired()) {
            let desired = Desired { allow_destroy: false, ..desired };
            let leased: Vec<_> = observed.vfs.iter().filter(|vf| vf.leased).cloned().collect();
            if let Ok(steps) = plan(&observed, &desired) {
                let mut kernel = Fake(observed.clone());
                prop_assert_eq!(apply(&mut kernel, observed.pf, &steps), Ok(()));
                let kept: Vec<_> = kernel.0.vfs.iter().filter(|vf| vf.leased).cloned().collect();
                prop_assert_eq!(kept, leased);
            }
        }

        #[test]
        fn what_was_allowed_is_never_refused_for_leases(observed in observed(), desired in desired()) {
            let desired = Desired { allow_destroy: true, ..desired };
            let fits = desired.count <= observed.total;
            prop_assert_eq!(plan(&observed, &desired).is_ok(), fits);
        }
    }

    #[test]
    fn growing_goes_through_zero_with_autoprobe_off_first() {
        let vf = ObservedVf {
            bdf: Bdf::from_rid(0, 0x101),
            driver: Some("igbvf".to_owned()),
            leased: false,
        };
        let observed = Observed {
            pf: Bdf::from_rid(0, 0x100),
            total: 8,
            autoprobe: true,
            vfs: vec![vf],
        };
        let desired = Desired {
            count: 2,
            driver: Some("vfio-pci".to_owned()),
            allow_destroy: false,
        };
        let words: Vec<_> = plan(&observed, &desired)
            .unwrap()
            .iter()
            .map(Step::to_string)
            .collect();
        assert_eq!(
            words,
            [
                "stop offering new VFs to host drivers",
                "take VF 0 (0000:01:00.1) from igbvf",
                "destroy all 1 VFs",
                "create 2 VFs",
                "bind VF 0 to vfio-pci",
                "bind VF 1 to vfio-pci",
            ]
        );
    }

    #[test]
    fn a_refusal_names_what_vms_hold_and_what_to_do() {
        let vf = ObservedVf {
            bdf: Bdf::from_rid(0, 0x101),
            driver: Some("vfio-pci".to_owned()),
            leased: true,
        };
        let observed = Observed {
            pf: Bdf::from_rid(0, 0x100),
            total: 8,
            autoprobe: false,
            vfs: vec![vf],
        };
        let desired = Desired {
            count: 2,
            driver: None,
            allow_destroy: false,
        };
        let words = plan(&observed, &desired).unwrap_err().to_string();
        assert!(
            words.contains("0000:01:00.1") && words.contains("end these leases first"),
            "{words}"
        );
    }
}
