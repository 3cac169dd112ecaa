import Machine
import Paravirtual

/// A paravirtual guest's block device is the PC's disk: the file, and what it was at earlier moments.
extension Disk: XenDisk {}
