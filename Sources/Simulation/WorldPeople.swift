import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore

// What people do: at their devices, and the operator at the server.

extension World {
    private func newText(isShort: Bool = false) -> String {
        textCount += 1
        let isLong = !isShort && textCount.isMultiple(of: textsPerLongOne)
        return "x\(textCount)" + (isLong ? String(repeating: "长", count: 300) : "")
    }

    /// Runs a person's command on a device, perhaps with a fault in the middle of it.
    func act(_ index: Int) throws {
        let device = devices[index]
        guard device.journal != nil else { return }
        let isStruck = beginOperation(device.disk, isHub: false)
        defer { endOperation(device.disk, isHub: false) }
        let clocks = device.clocks(now: now)
        usesWhatIsThere = false
        var refused: [CommandKey] = []
        do {
            let deed = try nextDeed(at: device, clocks, refused: &refused)
            endOperation(device.disk, isHub: false)
            guard let deed else { return }
            trace.note("\(device.name) \(deed.what)")
            if device.disk.isDown {
                // Killed after the last step that mattered: it was told as done.
                commands.noteInterrupted(clocks)
                try revive(device)
            }
            guard let journal = device.journal else { return }
            let own = try journal.inspectCommands()
            try commands.noteTakenUp(device, refused, deed.taken, own)
            if deed.isWritten { try commands.record(device, clocks, own) }
            schemas.record(device, own)
            try checkOwnWrites(device, own)
        } catch let error as JournalError {
            if device.disk.isDown {
                trace.note("\(device.name) dies in a command")
                commands.noteInterrupted(clocks)
                try revive(device)
            } else if error.category == .disk, !isStruck {
                throw Violation(invariant: 1, what: "\(device.name): \(error)")
            } else if error.category == .disk {
                trace.note("\(device.name)'s disk fails a command")
                commands.noteInterrupted(clocks)
                // The program ends with an error and starts anew with the next command.
                device.stop()
                try reopen(device)
            } else {
                guard error.isAboutDeed || isOfWhatIsThere(error, device) else {
                    throw Violation(invariant: 1, what: "\(device.name) cannot work: \(error)")
                }
                // Nothing was done.
                return
            }
            // It may be durable although nobody was told.
            guard let journal = device.journal else { return }
            try commands.noteTakenUp(device, refused, nil, try journal.inspectCommands())
        }
    }

    /// Whether a command fails for what a device holds and no person has written.
    private func isOfWhatIsThere(_ error: JournalError, _ device: SimulatedDevice) -> Bool {
        guard case .invalid = error else { return false }
        // Of a later program, or as a disk has made it.
        return usesWhatIsThere && (device.isNewer || !device.everAltered.isEmpty)
    }

    /// Has a person do something. Nobody holds the journal longer than that: it must be closed when
    /// its device stops.
    private func nextDeed(
        at device: SimulatedDevice, _ clocks: ClockReading, refused: inout [CommandKey]
    ) throws(JournalError) -> Deed? {
        guard let journal = device.journal else { return nil }
        if chance.happens(0.1) {
            refused = try journal.inspectCommands().refused.map { CommandKey($0) }
        }
        guard refused.isEmpty else { return try takeUpRefused(journal, clocks) }
        return try command(journal, device, clocks).map { Deed(what: $0) }
    }

    /// - Returns: What was done, `nil` when there was nothing to do.
    private func command(
        _ journal: Journal, _ device: SimulatedDevice, _ clocks: ClockReading
    ) throws(JournalError) -> String? {
        let needs = try device.needs()
        if device.isNewer, chance.happens(0.3) {
            return try writeUnknown(journal, device, needs, clocks)
        }
        if device.role != .team, needs.isEmpty || chance.happens(0.3) {
            guard let grid = chance.choose(try device.ownGrids()) else { return nil }
            var fields: [FieldEdit] = [
                FieldEdit(.text, .text(newText())), FieldEdit(.grid, .text(grid)),
            ]
            if chance.happens(0.5) { fields.append(FieldEdit(.category, .text(newCategory()))) }
            if chance.happens(0.3) { fields.append(FieldEdit(.address, .text(newText()))) }
            let need = try journal.addNeed(fields, clocks: clocks)
            return "records \(need.id.digits.suffix(6))"
        }
        guard let need = choose(among: needs, for: device) else { return nil }
        let id = need.id
        let name = id.digits.suffix(6)
        if let conflict = chance.choose(conflicts(of: need, for: device)), chance.happens(0.6) {
            let number = 1 + chance.below(conflict.versions.count)
            usesWhatIsThere = true
            _ = try journal.settle(id, conflict.field, keep: .number(number), clocks: clocks)
            return "settles \(conflict.field.name) of \(name)"
        }
        if chance.happens(0.1) {
            _ = try journal.note(id, text: newText(), clocks: clocks)
            return "notes on \(name)"
        }
        if device.role == .team { return try work(on: need, journal, clocks) }
        if need.isWithdrawn {
            _ = try journal.undoWithdrawal(id, clocks: clocks)
            return "brings back \(name)"
        }
        if need.status == .finished, chance.happens(0.5) {
            _ = try journal.rate(
                id, grade: 1 + chance.below(5), comment: newText(), clocks: clocks)
            return "rates \(name)"
        }
        switch chance.below(10) {
        case 0 where strikes(.tombstones):
            _ = try journal.withdraw(id, reason: newText(), clocks: clocks)
            return "withdraws \(name)"
        case 1..<4 where device.role == .office:
            _ = try journal.dispatch(
                id, team: teams[chance.below(teams.count)], due: nil, clocks: clocks)
            return "dispatches \(name)"
        case 4 where device.role == .office:
            return try work(on: need, journal, clocks)
        case 5:
            // A worker knows no other grids than their own.
            let known = device.role == .office ? grids : try device.ownGrids()
            guard let grid = chance.choose(known) else { return nil }
            _ = try journal.editNeed(id, [FieldEdit(.grid, .text(grid))], clocks: clocks)
            return "moves \(name) to \(grid)"
        default:
            var edits = [newEdit()]
            if chance.happens(0.2) {
                let other = newEdit()
                if other.field != edits[0].field { edits.append(other) }
            }
            _ = try journal.editNeed(id, edits, clocks: clocks)
            return "edits \(edits.map(\.field.name).joined(separator: ", ")) of \(name)"
        }
    }

    /// Those that the person may settle.
    private func conflicts(
        of need: NeedSnapshot, for device: SimulatedDevice
    ) -> [ConflictSnapshot] {
        need.conflicts.filter { device.role.mayWrite(.need, field: $0.field.rawValue) }
    }

    /// What asks for something to be done comes first, as it does to people.
    private func choose(among needs: [NeedSnapshot], for device: SimulatedDevice) -> NeedSnapshot? {
        let pressing = needs.filter { need in
            if !conflicts(of: need, for: device).isEmpty { return true }
            if device.role != .team { return need.status == .finished }
            return need.dispatch?.team == device.team
                && [.dispatched, .accepted, .started].contains(need.status)
        }
        return chance.choose(
            pressing.isEmpty || chance.happens(device.role == .team ? 0.1 : 0.7)
                ? needs : pressing)
    }

    private func newCategory() -> String {
        let categories = ["light", "water"] + (beginsWithoutCategories ? ["lamp"] : [])
        return categories[chance.below(categories.count)]
    }

    private func newEdit() -> FieldEdit {
        let fields: [NeedField] = [
            .address, .phone, .text, .resident, .category, .urgency, .location,
        ]
        let field = fields[chance.below(fields.count)]
        if field != .text, chance.happens(0.1) { return FieldEdit(field, nil) }
        switch field {
        case .urgency: return FieldEdit(field, .integer(Int64(1 + chance.below(3))))
        case .location:
            return FieldEdit(
                field, .location(latitude: 41_000_000, longitude: Int64(chance.below(1_000))))
        case .category: return FieldEdit(field, .text(newCategory()))
        default:
            // Sometimes two people write the same value, which is no conflict.
            if field != .text, chance.happens(0.1) { return FieldEdit(field, .text("same")) }
            return FieldEdit(
                field, .text(newText(isShort: field == .phone || field == .resident)))
        }
    }

    /// The next step of an order, as a team or its office takes it.
    private func work(
        on need: NeedSnapshot, _ journal: Journal, _ clocks: ClockReading
    ) throws(JournalError) -> String? {
        let (id, name) = (need.id, need.id.digits.suffix(6))
        switch need.status {
        case .dispatched:
            if chance.happens(0.3) {
                _ = try journal.decline(id, reason: newText(), clocks: clocks)
                return "declines \(name)"
            }
            _ = try journal.accept(id, clocks: clocks)
            return "accepts \(name)"
        case .accepted:
            _ = try journal.start(id, clocks: clocks)
            return "starts \(name)"
        case .started:
            _ = try journal.finish(id, result: newText(), clocks: clocks)
            return "finishes \(name)"
        case .declined, .recorded, .finished, .rated, .withdrawn: return nil
        }
    }

    /// What a person did at a device.
    private struct Deed {
        var what: String
        /// Whether it is a command that waits for the hub now.
        var isWritten = true
        /// How many refused commands it took up.
        var taken = 0
    }

    /// Retries or drops what was refused.
    private func takeUpRefused(
        _ journal: Journal, _ clocks: ClockReading
    ) throws(JournalError) -> Deed? {
        // What the hub does not know yet is kept for a later one.
        let refused = try journal.refused().filter { $0.code != .upgrade }
        guard let entry = chance.choose(refused) else { return nil }
        let name = entry.record.digits.suffix(6)
        if chance.happens(0.2) {
            // What depended on a record that is given up goes with it.
            let dependents =
                entry.createdKind == nil
                ? 0
                : refused.count {
                    $0.number != entry.number && $0.code == .depends
                        && ($0.record == entry.record || $0.need == entry.record)
                }
            try journal.drop(entry.number)
            return Deed(
                what: "drops \(1 + dependents) of \(name)", isWritten: false, taken: 1 + dependents)
        }
        let replacing: [FieldEdit] =
            entry.code == .unknownCategory && chance.happens(0.5)
            ? [FieldEdit(.category, chance.happens(0.5) ? nil : .text(newCategory()))] : []
        usesWhatIsThere = true
        // What a disk made of a command is what the person wants now.
        for entry in refused where entry.isDamaged { schemas.willWrite(entry.changes) }
        let count = try journal.retry(entry.number, replacing: replacing, clocks: clocks)
        return Deed(what: "retries \(count) of \(name)", taken: count)
    }

    /// What a later program writes, and no other knows.
    private func writeUnknown(
        _ journal: Journal, _ device: SimulatedDevice, _ needs: [NeedSnapshot],
        _ clocks: ClockReading
    ) throws(JournalError) -> String? {
        let bytes = (0..<chance.below(40)).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
        if chance.happens(0.3) {
            let id = try journal.write(creating: SchemaChecker.kind, clocks: clocks) { _ in
                [Change(field: 1, value: bytes)]
            }
            return "records \(id.digits.suffix(6)) of a new kind"
        }
        guard device.role != .team, let need = chance.choose(needs) else { return nil }
        let field = SchemaChecker.fields[chance.below(SchemaChecker.fields.count)]
        var changes = [Change(field: field, value: chance.happens(0.1) ? nil : bytes)]
        if chance.happens(0.3) {
            changes.append(
                Change(field: NeedField.phone.rawValue, value: Array(newText().utf8)))
        }
        schemas.willWrite(changes)
        _ = try journal.write(to: need.id, clocks: clocks) { _ in changes }
        return "sets the new field \(field) of \(need.id.digits.suffix(6))"
    }

    /// The centre's operator, at the server itself.
    func operate() throws {
        guard let ledger = hub.ledger else { return }
        let isStruck = beginOperation(hub.disk, isHub: true)
        defer { endOperation(hub.disk, isHub: true) }
        do {
            try operate(ledger)
        } catch LedgerError.invalid {
            // Done meanwhile, or withdrawn.
        } catch LedgerError.notFound {
            // A restored ledger does not know the team any more.
        } catch let error as LedgerError {
            guard hub.disk.isDown || isStruck && error.isOfDisk else {
                throw Violation(invariant: 21, what: "the hub fails its operator: \(error)")
            }
            trace.note("the hub's disk fails its operator")
            hub.isCalm = false
        }
        if hub.disk.isDown { return hubDies() }
        endOperation(hub.disk, isHub: true)
        // Where a need lay until the next order is known to nobody else.
        _ = try hub.records()
        hubTimes.noteHead(try ledger.head())
    }

    private func operate(_ ledger: Ledger) throws {
        if beginsWithoutCategories, chance.happens(0.1) {
            try SimulatedHub.importCategories(ledger)
            trace.note("the operator imports categories")
        }
        if chance.happens(0.03) {
            if teams.count < Self.teamsMax { teams.append("t\(teams.count + 1)") }
            let rows = teams.dropFirst(2).map { "\($0),队,15\n" }.joined()
            _ = try ledger.importTable(.teams, csv: "id,name,territory\n\(rows)")
            trace.note("the operator imports \(teams.count) teams")
        }
        // What moves while somebody pulls is what a feed can lose.
        let isMidPull = devices.contains(where: \.isMidPull) && strikes(.reassigned)
        if isMidPull, chance.happens(0.5) { return try changeTerritory() }
        guard isMidPull || chance.happens(0.3),
            let need = chance.choose(try ledger.needs())
        else { return }
        try ledger.dispatch(need.id, team: teams[chance.below(teams.count)], due: nil)
        trace.note("the operator dispatches \(need.id.digits.suffix(6))")
    }
}

extension JournalError {
    /// Whether it tells a person why something cannot be done, and nothing of the journal.
    fileprivate var isAboutDeed: Bool {
        switch self {
        case .wrongState, .notYourJob, .formerOrder, .tooDamaged, .unknownTeam, .unknownCategory,
            .unknownGrid:
            true
        default: false
        }
    }
}
