/// x87 and SSE control and status (SDM 1 8.1, 10.2.3).
enum ExplainFloat {
  static let entries: [ExplainEntry] = mxcsr.entries + control.entries + status.entries + others

  private typealias Bit = ExplainRegister.Bit

  /// The six errors both units know, in the order of their bits.
  private static let errors: [(String, String, String)] = [
    ("ie", "invalid operation", "an operand or operation without a meaning, such as 0/0 or an SNaN"),
    ("de", "denormal operand", "an operand too small to be normalised"), ("ze", "divide by zero", "a finite number over zero"),
    ("oe", "overflow", "a result too large for the format"), ("ue", "underflow", "a result too small for the format"),
    ("pe", "precision", "a result that had to be rounded"),
  ]

  private static func flags() -> [Bit] {
    errors.enumerated().map { index, error in
      ExplainRegister.bit(index, error.0, "\(error.1) happened", "Sticky: set by \(error.2), cleared by software only.", zero: "not since it was cleared", one: "it happened")
    }
  }

  private static func masks(first: Int) -> [Bit] {
    errors.enumerated().map { index, error in
      let name = String(error.0.prefix(1)) + "m"
      return ExplainRegister.bit(first + index, name, "\(error.1) masked", "Masked, the processor delivers a default result; unmasked, it raises an exception.", zero: "raises an exception", one: "gives the default result")
    }
  }

  private static let rounding = ["to the nearest, ties to even", "down", "up", "towards zero"]

  static let mxcsr = ExplainRegister(
    name: "mxcsr", shown: "MXCSR", title: "SSE control and status",
    rule: "Error flags, masks and rounding of SSE arithmetic. 1F80h after a reset: all masked, nearest. Loading a reserved "
      + "bit raises #GP.", section: "SDM 1 10.2.3",
    bits: flags() + [
      ExplainRegister.bit(6, "daz", "denormals are zeros", "Denormal operands count as zero: faster, not IEEE 754.", zero: "IEEE 754", one: "denormals count as zero")
    ] + masks(first: 7) + [
      ExplainRegister.field(13, 2, "rc", "rounding", "How results are rounded.", rounding),
      ExplainRegister.bit(15, "fz", "flush to zero", "Tiny results become zero where underflow is masked.", zero: "IEEE 754", one: "tiny results become zero"),
    ])

  static let control = ExplainRegister(
    name: "fctrl", shown: "FCW", aliases: ["fcw"], title: "x87 control word",
    rule: "Masks, precision and rounding of x87 arithmetic; 37Fh after FNINIT: all masked, 64 bits, nearest.",
    section: "SDM 1 8.1.5",
    bits: masks(first: 0) + [
      ExplainRegister.field(8, 2, "pc", "precision", "Significand bits results are rounded to.", ["24 bits (single)", "reserved", "53 bits (double)", "64 bits (extended)"]),
      ExplainRegister.field(10, 2, "rc", "rounding", "How results are rounded.", rounding),
      ExplainRegister.bit(12, "x", "infinity control", "Meant something on the 287 only.", zero: "as usual", one: "no effect"),
    ])

  static let status = ExplainRegister(
    name: "fstat", shown: "FSW", aliases: ["fsw"], title: "x87 status word",
    rule: "Sticky errors, condition codes and the top of the register stack.", section: "SDM 1 8.1.3",
    bits: flags() + [
      ExplainRegister.bit(6, "sf", "stack fault", "An invalid operation that was a stack overflow (C1=1) or underflow (C1=0).", zero: "no", one: "yes"),
      ExplainRegister.bit(7, "es", "error summary", "An unmasked error waits: the next waiting x87 instruction raises #MF.", zero: "none waits", one: "one waits"),
      ExplainRegister.bit(8, "c0", "condition code 0", "Compare: less; after FPREM a quotient bit.", zero: "clear", one: "set"),
      ExplainRegister.bit(9, "c1", "condition code 1", "Rounded up, or the direction of a stack fault.", zero: "clear", one: "set"),
      ExplainRegister.bit(10, "c2", "condition code 2", "Compare: unordered; FPREM: not finished.", zero: "clear", one: "set"),
      ExplainRegister.field(11, 3, "top", "top of stack", "Which physical register ST(0) is."),
      ExplainRegister.bit(14, "c3", "condition code 3", "Compare: equal.", zero: "clear", one: "set"),
      ExplainRegister.bit(15, "b", "busy", "A copy of ES, for 8087 programs.", zero: "clear", one: "set"),
    ])

  private static let others: [ExplainEntry] = [
    ExplainEntry(
      "ftag", ["ftw"], title: "FTW: x87 tag word",
      "Two bits for each physical register: 0 valid, 1 zero, 2 special (NaN, infinity, denormal), 3 empty. FFFFh: the "
        + "stack is empty.", "SDM 1 8.1.7", reading: .bits)
  ] + (0...7).map { number in
    ExplainEntry(
      "st\(number)", ["st(\(number))", "mm\(number)"], title: "ST(\(number)): x87 register",
      "80 bits: sign, 15 bits of exponent, 64 of significand, counted from the top of the stack. MMX's MM registers are "
        + "the same significands.", "SDM 1 8.1.2")
  } + (0...15).map { number in
    ExplainEntry(
      "xmm\(number)", [], title: "XMM\(number): SSE register",
      "128 bits: four singles, two doubles or packed integers. "
        + (number < 8 ? "CR4.OSFXSR must allow SSE." : "There only in 64-bit mode."), "SDM 1 10.2.2")
  }
}
