import Paravirtual

/// What the monitor keeps of a paravirtual domain, taken at one moment.
package struct XenView: Sendable {
  let frames: FrameView
  let startInfo: [NamedValue]

  init(_ platform: XenPlatform) {
    frames = platform.frameView
    startInfo = platform.startInfoRows.map { NamedValue(name: $0.name, value: $0.value) }
  }

  struct NamedValue: Sendable {
    var name: String
    var value: String
  }

  /// The machine frame of a pseudo-physical one; nil where the domain has none of that number.
  package func machineFrame(_ pfn: UInt64) -> UInt64? {
    pfn < frames.layout.pageCount ? frames.layout.machineFrame(pfn) : nil
  }

  package var machineFrameCount: UInt64 { frames.layout.frameCount }
}
