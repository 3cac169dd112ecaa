import Session
import Testing
import VMCore

@Suite("Run control's lanes")
struct RunLaneTests {
  @Test func `an NMI waits until the vCPU can take it, and asks for the window`() {
    var lane = RunLane()
    lane.nmiPending = true
    #expect(lane.prepare(interruptPending: false, canTake: true, canTakeNMI: false) == .enter)
    let entry = lane.takeEntry(interruptPending: false)
    #expect(entry.nmiWindow && entry.inject == nil && lane.nmiPending && lane.nmiWindowArmed)
    #expect(lane.prepare(interruptPending: false, canTake: true, canTakeNMI: true) == .enter)
    let next = lane.takeEntry(interruptPending: false)
    #expect(next.inject == .nmi && !next.nmiWindow && !lane.nmiPending)
  }

  @Test func `a blocked NMI wakes no halted vCPU`() {
    var lane = RunLane()
    (lane.nmiPending, lane.activity) = (true, .halted)
    #expect(lane.prepare(interruptPending: false, canTake: true, canTakeNMI: false) == .halted)
    #expect(lane.prepare(interruptPending: true, canTake: true, canTakeNMI: false) == .acknowledge)
  }
}
