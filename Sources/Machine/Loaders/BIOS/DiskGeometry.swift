/// Cylinders, heads and sectors per track of a drive, as INT 13h tells and takes them.
package struct DiskGeometry: Equatable, Sendable {
  package static let sectorSize = 512
  /// The largest floppy image: 2.88 MB. What is larger is a hard disk.
  package static let largestFloppy = 2_949_120

  package let cylinders: Int
  package let heads: Int
  /// Sectors in a track; the first has number 1.
  package let sectors: Int
  package let isFloppy: Bool
  /// Sectors one can address. A floppy reads zeros beyond its image; a hard disk ends with it.
  package let totalSectors: Int
  /// CMOS type of a floppy drive for INT 13h AH=08h: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 6 2.88M; 0 for a hard disk.
  package let floppyType: UInt8

  private static let floppies: [(cylinders: Int, heads: Int, sectors: Int, type: UInt8)] = [
    (40, 1, 8, 1), (40, 1, 9, 1), (40, 2, 8, 1), (40, 2, 9, 1), (80, 2, 9, 3), (80, 2, 15, 2), (80, 2, 18, 4),
    (80, 2, 21, 4), (80, 2, 36, 6),
  ]

  /// The geometry of a boot image by its size in bytes: a floppy format it fills exactly, else the 1.44 or
  /// 2.88 MB floppy it fits on, else a hard disk.
  package init(imageSize: Int) {
    for format in Self.floppies where format.cylinders * format.heads * format.sectors * Self.sectorSize == imageSize {
      self.init(floppy: format)
      return
    }
    if imageSize <= 1_474_560 {
      self.init(floppy: (80, 2, 18, 4))
    } else if imageSize <= Self.largestFloppy {
      self.init(floppy: (80, 2, 36, 6))
    } else {
      self.init(hardDiskSize: imageSize)
    }
  }

  /// A hard disk: 63 sectors a track, 16 heads up to 504 MiB and 255 beyond, at most 1,024 cylinders.
  package init(hardDiskSize size: Int) {
    totalSectors = max((size + Self.sectorSize - 1) / Self.sectorSize, 1)
    sectors = 63
    heads = totalSectors <= 1024 * 16 * 63 ? 16 : 255
    let track = heads * sectors
    cylinders = min((totalSectors + track - 1) / track, 1024)
    isFloppy = false
    floppyType = 0
  }

  private init(floppy format: (cylinders: Int, heads: Int, sectors: Int, type: UInt8)) {
    cylinders = format.cylinders
    heads = format.heads
    sectors = format.sectors
    isFloppy = true
    totalSectors = cylinders * heads * sectors
    floppyType = format.type
  }

  /// The sector's number from 0; nil where the drive has no such place.
  package func block(cylinder: Int, head: Int, sector: Int) -> Int? {
    guard cylinder < cylinders, head < heads, sector >= 1, sector <= sectors else { return nil }
    let block = (cylinder * heads + head) * sectors + sector - 1
    return block < totalSectors ? block : nil
  }
}
