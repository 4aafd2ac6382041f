import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore

// What happens to machines: they die, fail, go back to copies, and come up again.

extension World {
    func crash(_ device: SimulatedDevice, _ crash: Disk.Crash) throws {
        trace.note("\(device.name) loses \(crash == .powerLost ? "power" : "its process")")
        device.stop()
        device.disk.crash(crash)
        if crash == .powerLost { device.reboot(now: now) }
        try reopen(device, isCalm: crash == .processKilled)
    }

    /// - Parameter isCalm: Whether all writes had ended and none was lost. What SQLite then finds
    ///   it would find the next time too, so it is asked only sometimes.
    func reopen(_ device: SimulatedDevice, isCalm: Bool = false) throws {
        var isCalm = isCalm
        do {
            while try !open(device) { isCalm = false }
            guard let journal = device.journal else { return }
            if !isCalm || device.openings.isMultiple(of: Self.calmOpeningsPerCheck) {
                let findings = try journal.integrityCheck()
                guard findings.isEmpty else {
                    throw Violation(invariant: 25, what: "\(device.name): \(findings)")
                }
            }
            if !isCalm, !device.pulledBefore.isEmpty, let cursor = try device.inspect()?.cursor,
                cursor != device.pulled?.cursor,
                let before = device.pulledBefore.last(where: { $0.cursor == cursor })
            {
                device.pulled = before
            }
            let own = try journal.inspectCommands()
            try commands.checkDurable(device, own)
            if !isCalm { try checkOwnWrites(device, own) }
        } catch let error as JournalError {
            throw Violation(invariant: 25, what: "\(device.name) cannot open: \(error)")
        }
    }

    /// - Returns: Whether the journal is open; otherwise its disk failed, and it is tried again.
    ///   Nobody could notice what else happens until then.
    func open(_ device: SimulatedDevice) throws -> Bool {
        let isStruck = beginOperation(device.disk, isHub: false)
        defer { endOperation(device.disk, isHub: false) }
        do throws(JournalError) {
            try device.open()
            if !device.disk.isDown { return true }
        } catch {
            guard device.disk.isDown || isStruck && error.category == .disk else { throw error }
        }
        trace.note("\(device.name)'s disk fails its start")
        device.stop()
        if device.disk.isDown {
            device.disk.restart()
            device.reboot(now: now)
        }
        return false
    }

    func crashHub(_ crash: Disk.Crash) {
        trace.note("the hub loses \(crash == .powerLost ? "power" : "its process")")
        hub.stop()
        hub.disk.crash(crash)
        if crash == .powerLost { hub.isCalm = false }
        hubDownUntil = now + Int64(chance.below(100_000))
    }

    func restartHub() throws {
        hub.disk.restart()
        do {
            while try !openHub() { hub.isCalm = false }
            if !hub.isCalm || hub.openings.isMultiple(of: Self.calmOpeningsPerCheck) {
                let findings = try hub.ledger?.check() ?? []
                guard findings.isEmpty else {
                    throw Violation(invariant: 25, what: "the ledger: \(findings)")
                }
                hub.isCalm = true
            }
            try hub.ledger.map { hubTimes.noteHead(try $0.head()) }
            // Where a request that it died in had put a need, until the next one.
            _ = try hub.records()
            trace.note("the hub is up")
        } catch let error as LedgerError {
            throw Violation(invariant: 25, what: "the ledger cannot open: \(error)")
        }
    }

    /// - Returns: Whether the ledger is open; otherwise its disk failed, and it is tried again.
    private func openHub() throws -> Bool {
        let isStruck = beginOperation(hub.disk, isHub: true)
        defer { endOperation(hub.disk, isHub: true) }
        do {
            try hub.open()
            if !hub.disk.isDown { return true }
        } catch let error as LedgerError {
            guard hub.disk.isDown || isStruck && error.isOfDisk else { throw error }
        }
        trace.note("the hub's disk fails its start")
        hub.stop()
        hub.disk.restart()
        return false
    }

    /// The hub's disk has gone down in the middle of what it did.
    func hubDies() {
        hub.stop()
        hub.isCalm = false
        hubDownUntil = now + Int64(chance.below(100_000))
    }

    func upgradeHub() throws {
        trace.note("the hub is upgraded")
        hub.stop()
        hub.schema = .current
        try restartHub()
    }

    func restoreJournal(_ device: SimulatedDevice) throws {
        guard let older = device.backup else {
            device.stop()
            device.backup = device.disk.snapshot()
            device.alteredInBackup = device.altered
            device.writtenInBackup = device.written
            try reopen(device, isCalm: true)
            trace.note("\(device.name) makes a copy")
            return
        }
        trace.note("\(device.name) goes back to its copy")
        device.stop()
        let before = try ledgerGroups()
        device.disk.restore(older)
        device.backup = nil
        device.altered = device.alteredInBackup
        device.written = device.writtenInBackup
        device.newestShown = [:]
        device.pulled = nil
        device.pulledBefore = []
        device.unsettled = []
        commands.copiedDevices.insert(device.number)
        try commands.forgetUnsent(of: device.number, ledger: before)
        try reopen(device)
        try restores.noteChange(of: device)
    }

    func corruptJournal(_ device: SimulatedDevice) throws {
        device.stop()
        if let what = try device.alterRecord(chance) {
            restores.staleRows.formUnion(device.staleRows)
            trace.note("on \(device.name)'s disk a record \(what)")
        }
        try reopen(device, isCalm: true)
        try restores.noteChange(of: device)
    }

    func cloneJournal(_ index: Int) throws {
        guard devices.count < devicesMax else { return }
        let original = devices[index]
        original.stop()
        let image = original.disk.snapshot()
        try reopen(original, isCalm: true)
        let clone = SimulatedDevice(
            name: original.name + "'", number: original.number, role: original.role,
            team: original.team, chance: chance.split(), now: now, image: image)
        (clone.altered, clone.everAltered) = (original.altered, original.everAltered)
        clone.written = original.written
        clone.pulled = original.pulled
        clone.isNewer = original.isNewer
        devices.append(clone)
        commands.copiedDevices.insert(original.number)
        trace.note("\(original.name)'s disk is cloned")
        try reopen(clone)
    }

    /// The operator moves a grid, or adds one.
    func changeTerritory() throws {
        guard let ledger = hub.ledger else { return }
        territoryVersion += 1
        let parent = ["v1", "v2"][chance.below(2)]
        if grids.count < Self.gridsMax, chance.happens(0.2) { grids.append("g\(grids.count + 1)") }
        // The first stays, so that the first worker may always record.
        let grid = grids[1 + chance.below(grids.count - 1)]
        trace.note("\(grid) moves to \(parent)")
        _ = try ledger.importTable(
            .territory, csv: "code,name,level,parent\n\(grid),格\(territoryVersion),grid,\(parent)\n"
        )
    }

    /// Makes a backup, goes back to the one there is, or puts back the ledger that it replaced.
    func restoreHub() throws {
        if hub.ledger == nil { try restartHub() }
        let isPutBack = hub.replaced != nil && chance.happens(0.3)
        guard let copy = isPutBack ? hub.replaced : hub.backup else {
            // With or without the process that has the term open.
            let isOnline = chance.happens(0.5)
            if !isOnline { hub.stop() }
            hub.backup = .init(image: hub.disk.snapshot(), times: hubTimes)
            trace.note("the hub makes a backup")
            if !isOnline { try restartHub() }
            return
        }
        if let ledger = hub.ledger {
            // Nobody will see it again.
            let inspected = try LedgerChecker.check(ledger, restores: restores, times: hubTimes)
            try restores.noteRestore(of: inspected, devices)
            try commands.noteReplaced(ledger: inspected.groups)
        }
        hubRestores += 1
        hub.stop()
        let former = SimulatedHub.Copy(image: hub.disk.snapshot(), times: hubTimes)
        hub.disk.restore(copy.image)
        hub.replaced = isPutBack ? nil : former
        // The same backup may be needed once more.
        if !isPutBack, chance.happens(0.5) { hub.backup = nil }
        hubTimes.goBack(to: copy.times)
        try restartHub()
        trace.note(
            isPutBack ? "the hub's newer ledger is put back" : "the hub goes back to its backup")
        outcomes = OutcomeChecker()
        commands.forgetLost(ledger: try ledgerGroups(), waiting: try waitingCommands())
    }

    /// What devices have that is not known to be decided.
    func waitingCommands() throws -> Set<CommandKey> {
        var result: Set<CommandKey> = []
        for device in devices {
            guard let journal = device.journal else { continue }
            let replica = try journal.replica()
            for entry in try journal.inspectCommands().outbox {
                // What a former replica had sent goes again as far as it would still show.
                if entry.isSettled && entry.replica != replica { continue }
                result.insert(CommandKey(entry.group))
            }
        }
        return result
    }

    func revive(_ device: SimulatedDevice) throws {
        device.stop()
        device.disk.restart()
        device.reboot(now: now)
        try reopen(device)
    }

    /// Plans, perhaps, that a disk fails in the operation that begins: at any step and any read of
    /// it, also of a long one.
    ///
    /// - Returns: Whether it may.
    func beginOperation(_ disk: Disk, isHub: Bool) -> Bool {
        disk.cancelFaults()
        operationBegan = disk.stepCount
        let crashes: [(Fault, Disk.Fault)] =
            isHub
            ? [(.hubKilled, .crash(.processKilled)), (.hubPowerLost, .crash(.powerLost))]
            : [(.deviceKilled, .crash(.processKilled)), (.devicePowerLost, .crash(.powerLost))]
        for (fault, kind) in crashes + [(.diskFull, .full), (.ioError, .ioError)]
        where strikes(fault) {
            let longest = isHub ? hubStepsMax : deviceStepsMax
            let steps = 1 + chance.below(chance.happens(0.6) ? Self.stepsOfShortOperation : longest)
            if fault == .ioError, chance.happens(0.4) {
                disk.failNextRead(after: steps)
            } else {
                disk.failNext(after: steps, with: kind)
            }
            return true
        }
        return false
    }

    /// Ends what a fault was planned for; may be repeated.
    func endOperation(_ disk: Disk, isHub: Bool) {
        disk.cancelFaults()
        let steps = disk.stepCount - operationBegan
        if isHub {
            hubStepsMax = max(steps, hubStepsMax - hubStepsMax / 16)
        } else {
            deviceStepsMax = max(steps, deviceStepsMax - deviceStepsMax / 16)
        }
    }
}

extension LedgerError {
    /// Whether a disk that fails may be the reason.
    var isOfDisk: Bool {
        switch self {
        case .disk, .file: true
        case .busy, .damaged, .invalid, .row, .notFound, .codeUnknown, .codeUsed, .codeExpired,
            .tokenUnknown, .revoked, .forbidden:
            false
        }
    }
}
