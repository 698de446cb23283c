//! A kernel in this process: drivers, IOMMU groups and interfaces that only remember.

use guest_agent::accept::Grant;
use guest_agent::config::high::{Clock, Xdp};
use guest_agent::platform::{Bar, Counted, Error, Interface, Packets, Path, Platform, Translation};
use sriov::Bdf;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// 2026-11-20.
pub(crate) const NOW: i64 = 1_795_132_800;

/// One function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) driver: Option<String>,
    pub(crate) only: Option<String>,
    pub(crate) path: Path,
    pub(crate) bars: Vec<Bar>,
    pub(crate) translation: Translation,
    pub(crate) enabled: bool,
    pub(crate) interfaces_up: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) functions: BTreeMap<Bdf, Function>,
    pub(crate) autoprobe: bool,
    pub(crate) boot_id: String,
    pub(crate) command_line: String,
    pub(crate) memory: Vec<Range<u64>>,
    pub(crate) now: i64,
    pub(crate) powered_off: bool,
    /// What was done, in words, in order.
    pub(crate) done: Vec<String>,
    /// Where unbinding looks whether DMA is still on, and whether it ever was.
    pub(crate) gate: Option<super::host::Shared>,
    pub(crate) unbound_with_dma: bool,
    /// Fails the operation with this name.
    pub(crate) fails: Option<&'static str>,
    /// What groups become when they shall be direct.
    pub(crate) direct_becomes: Path,
    pub(crate) attached: Rc<RefCell<u32>>,
    /// Somebody has taken the packet programs off.
    pub(crate) stripped: Rc<RefCell<bool>>,
}

impl Kernel {
    /// A machine with a port function, the DSM and two devices, all without driver.
    pub(crate) fn new() -> Self {
        let bdf = |text: &str| text.parse::<Bdf>().unwrap();
        let bar = |index, base, size| Bar { index, base, size };
        let function = |bars: Vec<Bar>| Function {
            driver: None,
            only: None,
            path: Path::Direct,
            bars,
            translation: Translation::default(),
            enabled: false,
            interfaces_up: false,
        };
        let functions = [
            (bdf("0000:00:03.0"), function(vec![])),
            (bdf("0000:01:00.0"), function(vec![])),
            (
                bdf("0000:01:00.1"),
                function(vec![bar(0, 0x8000_0000, 0x4000), bar(4, 0x8001_0000, 0x1000)]),
            ),
            (
                bdf("0000:01:00.2"),
                function(vec![bar(0, 0x8002_0000, 0x4000), bar(4, 0x8003_0000, 0x1000)]),
            ),
        ];
        Self {
            functions: functions.into(),
            autoprobe: true,
            boot_id: "boot-1".into(),
            command_line: "quiet swiotlb=force intel_iommu=on iommu=strict".into(),
            memory: vec![0x1000..0xa_0000, 0x10_0000..0x4000_0000],
            now: NOW,
            powered_off: false,
            done: Vec::new(),
            gate: None,
            unbound_with_dma: false,
            fails: None,
            direct_becomes: Path::Direct,
            attached: Rc::default(),
            stripped: Rc::default(),
        }
    }

    pub(crate) fn function(&mut self, bdf: &str) -> &mut Function {
        self.functions
            .get_mut(&bdf.parse().unwrap())
            .expect("no such function")
    }

    fn act(&mut self, what: &'static str, bdf: Bdf) -> Result<&mut Function, Error> {
        self.done.push(format!("{what} {bdf}"));
        if self.fails == Some(what) {
            return Err(Error::new(
                format!("{what} fails"),
                "it to work",
                "see the kernel log",
            ));
        }
        self.functions
            .get_mut(&bdf)
            .ok_or_else(|| Error::new("no such function", "one", "look"))
    }

    fn look(&self, bdf: Bdf) -> Result<&Function, Error> {
        self.functions
            .get(&bdf)
            .ok_or_else(|| Error::new("no such function", "one", "look"))
    }
}

impl Platform for Kernel {
    fn boot_id(&self) -> Result<String, Error> {
        Ok(self.boot_id.clone())
    }
    fn command_line(&self) -> Result<String, Error> {
        Ok(self.command_line.clone())
    }
    fn bounce_pool(&self) -> Result<Range<u64>, Error> {
        match self.command_line.contains("swiotlb=force") {
            true => Ok(0x3000_0000..0x3400_0000),
            false => Err(Error::new(
                "the kernel does not bounce every transfer",
                "swiotlb=force",
                "boot with it",
            )),
        }
    }
    fn memory(&self) -> Result<Vec<Range<u64>>, Error> {
        Ok(self.memory.clone())
    }
    fn unix_time(&self, _: Clock) -> Result<i64, Error> {
        Ok(self.now)
    }
    fn functions(&self) -> Result<Vec<Bdf>, Error> {
        Ok(self.functions.keys().copied().collect())
    }
    fn stop_autoprobe(&mut self) -> Result<(), Error> {
        self.autoprobe = false;
        Ok(())
    }
    fn probe(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.act("probe", bdf)?.driver = Some("platform".into());
        Ok(())
    }
    fn isolate(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.act("isolate", bdf)?.only = Some("nobody".into());
        Ok(())
    }
    fn driver(&self, bdf: Bdf) -> Result<Option<String>, Error> {
        Ok(self.look(bdf)?.driver.clone())
    }
    fn unbind(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.unbound_with_dma |= self.gate.as_ref().is_some_and(super::host::Shared::any_dma);
        let function = self.act("unbind", bdf)?;
        (function.driver, function.only, function.interfaces_up) = (None, Some("nobody".into()), false);
        Ok(())
    }
    fn bind(&mut self, bdf: Bdf, driver: &str) -> Result<(), Error> {
        let function = self.act("bind", bdf)?;
        (function.driver, function.only) = (Some(driver.into()), Some(driver.into()));
        Ok(())
    }
    fn path(&self, bdf: Bdf) -> Result<Path, Error> {
        Ok(self.look(bdf)?.path)
    }
    fn bounce(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.bounce_pool()?;
        self.act("bounce", bdf)?.path = Path::Bounce;
        Ok(())
    }
    fn direct(&mut self, bdf: Bdf, grant: &Grant<'_>) -> Result<(), Error> {
        assert_eq!(grant.bdf(), bdf);
        let becomes = self.direct_becomes;
        self.act("direct", bdf)?.path = becomes;
        Ok(())
    }
    fn enable_memory_and_bus_master(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.act("enable", bdf)?.enabled = true;
        Ok(())
    }
    fn bars(&self, bdf: Bdf) -> Result<Vec<Bar>, Error> {
        Ok(self.look(bdf)?.bars.clone())
    }
    fn translation(&self, bdf: Bdf) -> Result<Translation, Error> {
        Ok(self.look(bdf)?.translation)
    }
    fn interfaces(&mut self, bdf: Bdf) -> Result<Vec<Interface>, Error> {
        self.act("interfaces", bdf)?;
        Ok(vec![Interface {
            name: bdf.to_string(),
            index: 2,
        }])
    }
    fn up(&mut self, interface: &Interface) -> Result<(), Error> {
        self.act("up", interface.name.parse().unwrap())?.interfaces_up = true;
        Ok(())
    }
    fn attach(&mut self, interface: &Interface, _: &Xdp) -> Result<Box<dyn Packets>, Error> {
        if self.fails == Some("attach") {
            return Err(Error::new(
                "the driver takes no native program",
                "native mode",
                "ask for generic mode, or see the kernel log",
            ));
        }
        self.done.push(format!("attach {}", interface.name));
        *self.attached.borrow_mut() += 1;
        Ok(Box::new(Program {
            attached: Rc::clone(&self.attached),
            stripped: Rc::clone(&self.stripped),
        }))
    }
    fn power_off(&mut self) -> Result<(), Error> {
        self.powered_off = true;
        Ok(())
    }
}

struct Program {
    attached: Rc<RefCell<u32>>,
    stripped: Rc<RefCell<bool>>,
}

impl Packets for Program {
    fn mode(&self) -> &'static str {
        "native"
    }
    fn check(&self) -> Result<(), Error> {
        match *self.stripped.borrow() {
            false => Ok(()),
            true => Err(Error::new(
                "another program runs",
                "the policy's",
                "see what took it off",
            )),
        }
    }
    fn counted(&self) -> Result<Counted, Error> {
        Ok(Counted {
            passed: 5,
            dropped: 3,
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        *self.attached.borrow_mut() -= 1;
    }
}
