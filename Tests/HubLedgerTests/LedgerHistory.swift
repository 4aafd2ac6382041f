import HubLedger
import NeedModel
import SyncCore
import WireFormat

@testable import HubLedger

/// A random history of one ledger and the devices that meet in it: they write offline under wild
/// clocks, lose answers, pull by small pages, are killed between them, are cloned and restored,
/// while needs are dispatched again and again, moved, withdrawn and rated, territory is reordered,
/// and the server starts anew.
struct LedgerHistory {
    enum LedgerClock: CaseIterable {
        case movesOn, stands, stepsBack
    }

    let hub: TestHub
    let ledgerClock: LedgerClock
    private(set) var generator: SplitMix64
    private(set) var devices: [TestDevice] = []
    private var needs: [RecordID] = []
    private var notes: [RecordID] = []
    private var orders: [RecordID: [UInt64]] = [:]
    private var copies: [(of: Int, journal: TestDevice)] = []
    private var routesAreIn = false

    init(generator: SplitMix64, stepCount: Int) throws {
        self.generator = generator
        hub = try TestHub.withCrew(seed: self.generator.next())
        ledgerClock = LedgerClock.allCases.randomElement(using: &self.generator)!
        devices = hub.crew
        if !self.generator.oneIn(4) {
            for device in devices { device.skipsCoding() }
        }
        for index in devices.indices where !self.generator.oneIn(4) {
            try devices[index].sync()
        }
        for _ in 0..<stepCount { try step() }
        for device in devices { try finish(device) }
        // Whoever synced first has not seen what the others brought.
        for device in devices { try finish(device) }
    }

    private func finish(_ device: TestDevice) throws {
        try device.sync()
    }

    // MARK: - Steps

    private mutating func step() throws {
        moveClocks()
        let index = generator.below(devices.count)
        let device = devices[index]
        switch generator.below(24) {
        case 0...8: try write(device)
        case 9...13: try exchange(device)
        case 14...17:
            for _ in 0..<4 { try exchange(device) }
        case 18: device.dropStaged()
        case 19:
            if generator.oneIn(2) {
                copies.append((index, device.clone()))
            } else if let copy = copies.randomElement(using: &generator) {
                // Either the machine went back to an older copy of its journal, or somebody runs
                // the copy beside it.
                if generator.oneIn(2) {
                    devices[copy.of].restore(copy.journal)
                } else {
                    devices.append(copy.journal)
                    copies.removeAll { $0.journal === copy.journal }
                }
            }
        case 20:
            if let need = needs.randomElement(using: &generator), try hub.record(need) != nil {
                try? hub.ledger.dispatch(
                    need, team: ["A", "B", "C"].randomElement(using: &generator)!, due: nil)
            }
        case 21:
            if generator.oneIn(3) { try hub.restart(seed: generator.next()) }
        case 22:
            if generator.oneIn(3) { try reorderTerritory() }
        default:
            if !routesAreIn {
                routesAreIn = true
                _ = try hub.ledger.importTable(
                    .routes, csv: "category,territory,team,due_days\nlight,v1,A,3\nlight,t1,C,\n")
            }
        }
    }

    private mutating func moveClocks() {
        let passed: Int64 = [0, 1, 7, 1_000, 86_400_000].randomElement(using: &generator)!
        switch ledgerClock {
        case .movesOn: hub.time.now += passed + 100
        case .stands: hub.time.now += generator.oneIn(4) ? 1 : 0
        case .stepsBack: hub.time.now += generator.oneIn(6) ? -3_600_000 : passed
        }
        let device = devices.randomElement(using: &generator)!
        if generator.oneIn(12) { device.reboot(generator.next()) }
        if generator.oneIn(12) { device.wallError = generator.wildNumber() }
    }

    /// Moves a grid to another village, so that scopes change while pulls are under way.
    private mutating func reorderTerritory() throws {
        let grid = ["g2", "g3"].randomElement(using: &generator)!
        let village = ["v1", "v2", "v3"].randomElement(using: &generator)!
        _ = try hub.ledger.importTable(
            .territory, csv: "code,name,level,parent\n\(grid),网格,grid,\(village)\n")
    }

    private mutating func write(_ device: TestDevice) throws {
        let need = needs.randomElement(using: &generator)
        guard let need, !generator.oneIn(5) else {
            let grid = ["g1", "g2", "g3", "g4"].randomElement(using: &generator)!
            let category: String? = generator.oneIn(2) ? "light" : nil
            needs.append(device.addNeed("缺路灯", grid: grid, category: category))
            return
        }
        let order = orders[need]?.randomElement(using: &generator) ?? 1
        switch generator.below(14) {
        case 0...2: device.edit(need, .address, .text("\(generator.below(3))号"))
        case 3: device.edit(need, .urgency, .integer(Int64(generator.below(4))))
        case 4: device.edit(need, .phone, generator.oneIn(2) ? nil : .text("13800000000"))
        case 5:
            let grid = ["g1", "g2", "g3", "g4", "g9"].randomElement(using: &generator)!
            device.edit(need, .grid, .text(grid))
        case 6:
            device.edit(need, .withdrawal, .withdrawal(reason: "已解决"))
        case 7: device.edit(need, .withdrawal, nil)
        case 8...9:
            let team = ["A", "B", "C"].randomElement(using: &generator)!
            orders[need, default: []].append(device.dispatch(need, to: team))
        case 10...11:
            let current = device.state[need]?.progress.dispatch?.order ?? order
            let verdict = FieldValue.Verdict.allCases.randomElement(using: &generator)!
            device.answer(need, current, verdict, verdict == .declined ? "人手不够" : "")
        case 12: device.rate(need, order, grade: 1 + generator.below(5))
        default:
            if let note = notes.randomElement(using: &generator), generator.oneIn(3) {
                device.write(
                    note,
                    [
                        Change(
                            field: NoteField.text.rawValue,
                            value: [UInt8(ascii: "a") + UInt8(generator.below(26))])
                    ])
            } else {
                notes.append(device.addNote(on: need))
            }
        }
    }

    private mutating func exchange(_ device: TestDevice) throws {
        let count = generator.below(device.waiting.count + 1)
        let groups =
            count == 0 && !device.waiting.isEmpty
            ? device.waiting
            : Array(device.waiting.prefix(count))
        let pageBytes = [1, 60, 400, 1 << 16].randomElement(using: &generator)!
        let isLost = generator.oneIn(5)
        let answer = try device.exchange(groups: groups, pageBytes: pageBytes, isLost: isLost)
        try checkScope(of: answer, for: device)
        if !isLost, answer.page?.cursor != nil, generator.oneIn(3) { try checkState(of: device) }
    }

    /// Nothing may be sent that lies outside the device's scope at that moment.
    private func checkScope(of answer: SyncAnswer, for device: TestDevice) throws {
        guard let page = answer.page, !page.records.isEmpty else { return }
        let row = try hub.storage.snapshot { try hub.storage.device(device.id) }
        guard let own = row?.device else { return }
        let scope = try hub.scope(of: own)
        for record in page.records {
            guard let stored = try hub.record(record.id) else {
                throw PropertyFailure(description: "a record came that is not there")
            }
            try check(
                scope.contains(stored.placement),
                "\(own.name) was sent \(record.id) at \(stored.placement)")
        }
    }

    // MARK: - Invariants

    func checkInvariants(checksFile: Bool) throws {
        try checkCounters()
        try checkMerge()
        for device in devices {
            try check(device.waiting.isEmpty, "a group has no outcome")
            try checkState(of: device)
        }
        if checksFile {
            let findings = try hub.ledger.check()
            try check(findings.isEmpty, findings.joined(separator: "; "))
        }
    }

    /// The last page of a pull leaves the device with the ledger's state over its scope.
    private func checkState(of device: TestDevice) throws {
        let ledger = try hub.state(within: device.scope)
        if ledger == device.state { return }
        for id in Set(ledger.keys).union(device.state.keys).sorted()
        where ledger[id] != device.state[id] {
            throw PropertyFailure(
                description: """
                    device \(device.id) differs in \(id):
                    ledger \(String(describing: ledger[id]))
                    device \(String(describing: device.state[id]))
                    """)
        }
    }

    /// Sequences and counters have no holes, and every counter has one outcome.
    private func checkCounters() throws {
        try hub.storage.snapshot {
            let terms = try hub.storage.terms().entries
            var counters: [Int64: UInt64] = [:]
            var admitted = 0
            var sequence: UInt64 = 0
            try hub.storage.forEachBatch { batch in
                let replica = try hub.storage.replica(row: batch.replicaRow)
                let outcomes = try StoredOutcome.decode(batch.outcomes)
                let groups = try StoredContent.decode(batch)
                try check(outcomes.count == groups.count, "a group without its outcome")
                try check(batch.firstSequence == sequence + 1, "a hole in the sequence")
                sequence = batch.lastSequence
                for (group, outcome) in zip(groups, outcomes) {
                    if replica?.device != nil {
                        let expected = counters[batch.replicaRow] ?? 1
                        try check(
                            group.firstCounter == expected,
                            "counter \(group.firstCounter) instead of \(expected)")
                        counters[batch.replicaRow] = group.nextCounter
                    }
                    if case .applied = outcome.outcome { admitted += group.changes.count }
                }
            }
            try check(
                try hub.storage.head() == UInt64(admitted + terms.count),
                "the head is not the number of events")
        }
    }

    private struct Place: Hashable {
        var record: RecordID
        var field: UInt32
    }

    /// Replays all admitted changes: the law of stamps, and the state that they join to.
    private func checkMerge() throws {
        var versions: [Place: [Version]] = [:]
        var registers: [Place: Register] = [:]
        try hub.storage.snapshot {
            let terms = try hub.storage.terms()
            let head = try hub.storage.head()
            try hub.storage.forEachBatch { batch in
                guard let writer = try hub.storage.replica(row: batch.replicaRow) else { return }
                let outcomes = try StoredOutcome.decode(batch.outcomes)
                for (group, outcome) in zip(try StoredContent.decode(batch), outcomes) {
                    guard case .applied(let superseded) = outcome.outcome else { continue }
                    let base = min(
                        terms.cut(group.base, head: head),
                        (writer.device == nil ? outcome.sequence : batch.firstSequence) - 1)
                    for (index, change) in group.changes.enumerated() {
                        let version = Version(
                            value: change.value,
                            stamp: Stamp(
                                milliseconds: outcome.stamps[index],
                                dot: Dot(writer.id, group.firstCounter + UInt64(index))),
                            sequence: outcome.sequence + UInt64(index),
                            clock: ShortClock(base: base, ancestors: writer.ancestors))
                        let place = Place(record: group.record, field: change.field)
                        var register = registers[place] ?? Register()
                        if let covered = register.newestCovered(by: version) {
                            try check(
                                version.stamp.milliseconds > covered,
                                "a stamp that is not later than what it covers")
                            try check(
                                version.stamp.milliseconds
                                    <= max(batch.receivedMilliseconds, covered + 1),
                                "a stamp later than the ledger's clock")
                        } else {
                            try check(
                                version.stamp.milliseconds <= batch.receivedMilliseconds,
                                "a stamp later than the ledger's clock")
                        }
                        if ledgerClock == .movesOn {
                            for other in versions[place] ?? [] where version.covers(other) {
                                try check(other.stamp < version.stamp, "covers, but is earlier")
                            }
                        }
                        register.insert(version)
                        // An answer or a rating to another order than the current one counts for
                        // nothing, whatever its stamp.
                        let dispatch =
                            registers[
                                Place(record: group.record, field: NeedField.dispatch.rawValue)
                            ]?.winner?.value.flatMap { FieldValue(.dispatch, bytes: $0) }
                        var current: UInt64?
                        if case .dispatch(let dispatch) = dispatch { current = dispatch.order }
                        let named = NeedField(rawValue: change.field).flatMap {
                            LateAnswers.order(of: $0, change.value)
                        }
                        try check(
                            superseded.contains(change.field)
                                == (register.winner?.dot != version.dot
                                    || named != nil && named != current),
                            "an outcome that is not what became of it")
                        registers[place] = register
                        versions[place, default: []].append(version)
                    }
                }
            }
        }
        var inConflict: Set<RecordID> = []
        for record in try hub.records() where record.kind == Kind.need.rawValue {
            var others: [Version] = []
            let order = record.progress.dispatch?.order
            for entry in record.state.fields where entry.field != LateAnswers.field {
                let place = Place(record: record.id, field: entry.field)
                let live = entry.register.versions
                try check(registers[place] == entry.register, "a state that is not the join")
                for one in live {
                    try check(!live.contains { one.covers($0) }, "live versions cover each other")
                }
                let source = NeedField(rawValue: entry.field).flatMap { field in
                    LateAnswers.sources.contains(field) ? field : nil
                }
                // Of answers and ratings, only those to the current order can disagree.
                let counted = live.filter { version in
                    source.map { LateAnswers.order(of: $0, version.value) == order } ?? true
                }
                if Set(counted.map(\.value)).count > 1 { inConflict.insert(record.id) }
                let dispatch = record.state[NeedField.dispatch.rawValue].winner
                let isLate = live.contains { version in
                    guard let source, let dispatch, version.value != nil else { return false }
                    return LateAnswers.order(of: source, version.value) != order
                        && version.isConcurrent(with: dispatch)
                }
                // One of two concurrent orders may have decided on it; then those are in conflict.
                let areOrdersInConflict =
                    record.state[NeedField.dispatch.rawValue].versions.count > 1
                try check(
                    !isLate || !record.lateAnswers.isEmpty || areOrdersInConflict,
                    "late work that nobody is shown")
                if entry.field != NeedField.withdrawal.rawValue { others += live }
            }
            let delete = record.state[NeedField.withdrawal.rawValue].winner
            if let delete, delete.value != nil,
                others.contains(where: { !$0.covers(delete) && !delete.covers($0) })
            {
                inConflict.insert(record.id)
            }
            if !record.lateAnswers.isEmpty { inConflict.insert(record.id) }
            let history = versions.keys.filter { $0.record == record.id }.count
            let written = record.state.fields.count { $0.field != LateAnswers.field }
            try check(history == written, "a field that nobody wrote, or lost")
        }
        let listed = Set(try hub.ledger.conflicts().map(\.record))
        try check(listed == inConflict, "the list of conflicts is not what is in conflict")
    }
}
