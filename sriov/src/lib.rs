//! PCI functions on Linux: inventory, VF plans, drivers, IOMMU groups, VFIO, PCI/TSM sysfs
