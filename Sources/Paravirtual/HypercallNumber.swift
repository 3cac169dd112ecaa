/// Hypercall numbers (Xen public/xen.h).
package enum HypercallNumber: UInt64, CaseIterable, Sendable {
  case setTrapTable = 0, mmuUpdate = 1, setGDT = 2, stackSwitch = 3, setCallbacks = 4, fpuTaskswitch = 5
  case setDebugreg = 8, getDebugreg = 9, updateDescriptor = 10, memoryOp = 12, multicall = 13
  case updateVAMapping = 14, setTimerOp = 15, xenVersion = 17, consoleIO = 18, grantTableOp = 20, vmAssist = 21
  case updateVAMappingOtherDomain = 22, iret = 23, vcpuOp = 24, setSegmentBase = 25, mmuextOp = 26
  case schedOp = 29, callbackOp = 30, eventChannelOp = 32, physdevOp = 33, hvmOp = 34, xenpmuOp = 40

  /// The ABI's name.
  package var name: String {
    switch self {
    case .setTrapTable: "set_trap_table"
    case .mmuUpdate: "mmu_update"
    case .setGDT: "set_gdt"
    case .stackSwitch: "stack_switch"
    case .setCallbacks: "set_callbacks"
    case .fpuTaskswitch: "fpu_taskswitch"
    case .setDebugreg: "set_debugreg"
    case .getDebugreg: "get_debugreg"
    case .updateDescriptor: "update_descriptor"
    case .memoryOp: "memory_op"
    case .multicall: "multicall"
    case .updateVAMapping: "update_va_mapping"
    case .setTimerOp: "set_timer_op"
    case .xenVersion: "xen_version"
    case .consoleIO: "console_io"
    case .grantTableOp: "grant_table_op"
    case .vmAssist: "vm_assist"
    case .updateVAMappingOtherDomain: "update_va_mapping_otherdomain"
    case .iret: "iret"
    case .vcpuOp: "vcpu_op"
    case .setSegmentBase: "set_segment_base"
    case .mmuextOp: "mmuext_op"
    case .schedOp: "sched_op"
    case .callbackOp: "callback_op"
    case .eventChannelOp: "event_channel_op"
    case .physdevOp: "physdev_op"
    case .hvmOp: "hvm_op"
    case .xenpmuOp: "xenpmu_op"
    }
  }

  /// Names of the first two arguments, in RDI and RSI.
  package var argumentNames: [String] {
    switch self {
    case .setTrapTable: ["traps"]
    case .mmuUpdate: ["requests", "count"]
    case .setGDT: ["frames", "entries"]
    case .stackSwitch: ["ss", "rsp"]
    case .setCallbacks: ["event", "failsafe"]
    case .fpuTaskswitch: ["set"]
    case .setDebugreg: ["register", "value"]
    case .getDebugreg: ["register"]
    case .updateDescriptor: ["address", "descriptor"]
    case .multicall: ["calls", "count"]
    case .updateVAMapping, .updateVAMappingOtherDomain: ["va", "pte"]
    case .setTimerOp: ["time"]
    case .consoleIO: ["command", "count"]
    case .vmAssist: ["command", "type"]
    case .iret: []
    case .vcpuOp: ["command", "vcpu"]
    case .setSegmentBase: ["which", "base"]
    case .mmuextOp: ["ops", "count"]
    case .memoryOp, .xenVersion, .grantTableOp, .schedOp, .callbackOp, .eventChannelOp, .physdevOp, .hvmOp, .xenpmuOp:
      ["command", "argument"]
    }
  }

  /// The first argument says which of several operations is meant.
  package var hasCommand: Bool {
    switch self {
    case .memoryOp, .xenVersion, .grantTableOp, .schedOp, .callbackOp, .eventChannelOp, .physdevOp, .hvmOp, .xenpmuOp,
      .consoleIO, .vmAssist, .vcpuOp, .setSegmentBase:
      true
    default: false
    }
  }

  /// Names of its operations by number; nil without a name.
  package func commandName(_ command: UInt64) -> String? {
    guard hasCommand, command < UInt64(commandNames.count) else { return nil }
    let name = commandNames[Int(command)]
    return name.isEmpty ? nil : name
  }

  package var commandNames: [String] {
    switch self {
    case .memoryOp:
      [
        "increase_reservation", "decrease_reservation", "maximum_ram_page", "current_reservation",
        "maximum_reservation", "machphys_mfn_list", "populate_physmap", "add_to_physmap", "", "memory_map",
        "machine_memory_map", "exchange", "machphys_mapping", "set_memory_map", "maximum_gpfn", "remove_from_physmap",
        "set_pod_target", "get_pod_target", "get_sharing_freed_pages", "get_sharing_shared_pages", "paging_op",
        "access_op", "sharing_op", "add_to_physmap_batch", "claim_pages", "machphys_compat_mfn_list", "get_vnumainfo",
        "reserved_device_memory_map", "acquire_resource",
      ]
    case .xenVersion:
      [
        "version", "extraversion", "compile_info", "capabilities", "changeset", "platform_parameters", "get_features",
        "pagesize", "guest_handle", "commandline", "build_id",
      ]
    case .consoleIO: ["write", "read"]
    case .grantTableOp:
      [
        "map_grant_ref", "unmap_grant_ref", "setup_table", "dump_table", "transfer", "copy", "query_size",
        "unmap_and_replace", "set_version", "get_status_frames", "get_version", "swap_grant_ref", "cache_flush",
      ]
    case .vmAssist: ["enable", "disable"]
    case .vcpuOp:
      [
        "initialise", "up", "down", "is_up", "get_runstate_info", "register_runstate_memory_area",
        "set_periodic_timer", "stop_periodic_timer", "set_singleshot_timer", "stop_singleshot_timer",
        "register_vcpu_info", "send_nmi", "get_physid", "register_vcpu_time_memory_area",
      ]
    case .setSegmentBase: ["fs", "gs_user", "gs_kernel", "gs_user_sel"]
    case .schedOp: ["yield", "block", "shutdown", "poll", "remote_shutdown"]
    case .callbackOp: ["register", "unregister"]
    case .eventChannelOp:
      [
        "bind_interdomain", "bind_virq", "bind_pirq", "close", "send", "status", "alloc_unbound", "bind_ipi",
        "bind_vcpu", "unmask", "reset", "init_control", "expand_array", "set_priority",
      ]
    case .physdevOp: ["", "", "", "", "apic_read", "", "set_iopl", "set_iobitmap"]
    default: []
    }
  }
}

/// The operations of mmuext_op.
package enum MMUExtendedOp: UInt32, Sendable {
  case pinL1 = 0, pinL2 = 1, pinL3 = 2, pinL4 = 3, unpin = 4, newBase = 5, flushTLBLocal = 6, invalidateLocal = 7
  case flushTLBMulti = 8, invalidateMulti = 9, flushTLBAll = 10, invalidateAll = 11, flushCache = 12, setLDT = 13
  case newUserBase = 15, clearPage = 16, copyPage = 17
}

/// The ABI's error numbers (Xen public/errno.h), as a hypercall's result.
package enum XenError: Int64, Error, Sendable {
  case perm = -1, noEntry = -2, noSuchDomain = -3, tooBig = -7, noMemory = -12, fault = -14, busy = -16, exists = -17
  case invalid = -22, noSpace = -28, noSuchCall = -38, time = -62, notSupported = -95
}
