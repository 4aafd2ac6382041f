import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// How to run a simulation; the same options give the same run, byte for byte.
package struct SimulationOptions: Sendable {
    package var seed: UInt64
    /// 2 to 5 by the seed when `nil`.
    package var devices: Int?
    package var events: Int
    package var faults: Set<Fault>

    package init(
        seed: UInt64, devices: Int? = nil, events: Int = 300,
        faults: Set<Fault> = Set(Fault.allCases)
    ) {
        self.seed = seed
        self.devices = devices
        self.events = events
        self.faults = faults
    }
}

/// A hub, its devices and the network between them, in one thread, by one virtual clock.
///
/// Everything that decides is production code: journals, sessions, frames, ledger. The world only
/// delivers, delays, damages, kills and checks.
package final class World {
    let options: SimulationOptions
    let chance: Chance
    private(set) var trace = Trace()
    /// The true time, in milliseconds since 1970.
    private(set) var now = start
    private(set) var hubOffset: Int64 = 0
    private var hubTimes = HubTimes()
    private(set) var hub: SimulatedHub!
    private(set) var devices: [SimulatedDevice] = []
    private var rates: [Fault: Double] = [:]
    private(set) var isHealing = false
    private var messages: [Message] = []
    private var messageCount = 0
    private var oldAnswers: [(device: Int, bytes: [UInt8], hub: Int)] = []
    private var hubRestores = 0
    private var textCount = 0
    private var pulls = PullChecker()
    private var digests = DigestChecker()
    let commands = CommandChecker()
    private var outcomes = OutcomeChecker()
    private var restores = RestoreChecker()
    private(set) var schemas = SchemaChecker()
    private(set) var commitsShared = 0
    private var hubDownUntil: Int64 = 0
    /// The disk's steps when the operation under way began, and how many the longest had of late.
    private var operationBegan = 0
    private var deviceStepsMax = stepsOfShortOperation
    private var hubStepsMax = stepsOfShortOperation
    private var territoryVersion = 0
    /// With clones.
    private let devicesMax: Int
    /// Whether there are no categories at first. Until they come people invent their own; who has
    /// not heard of them by then is refused, and whatever builds on it.
    private let beginsWithoutCategories: Bool
    /// Whether every pull takes as many pages as it can.
    private let hasSmallPages: Bool
    /// One text of so many is long, so that pulls take several pages.
    private let textsPerLongOne: Int
    /// What the operator has imported by now; a restored hub may know less again.
    private var grids = ["g1", "g2", "g3"]
    private var teams = ["t1", "t2"]

    private struct Message {
        enum Content {
            case request([UInt8])
            /// Which hub it comes from: how often the ledger had been restored by then.
            case answer([UInt8], hub: Int)
        }
        var at: Int64
        var order: Int
        var device: Int
        var content: Content
    }

    private static let start: Int64 = 1_795_000_000_000
    /// Making tables takes as long as many events, and no fault strikes before the first of them.
    private static let ledgerImage = Result { try SimulatedHub.image(now: start) }
    private static let ledgerImageWithoutCategories = Result {
        try SimulatedHub.image(now: start, hasCategories: false)
    }
    private static let journalImage = Result { try SimulatedDevice.image() }

    private static let gridsMax = 6
    private static let teamsMax = 4
    private static let devicesWithClonesMax = 6
    /// Of a silent hour.
    private static let hopsInAnHourMax = 40
    private static let stepsOfShortOperation = 12
    private static let answerTimeoutMilliseconds: Int64 = 60_000
    /// Of a very slow disk, so that requests meet.
    private static let commitMilliseconds: Int64 = 2_000
    private static let roundsToRestMax = 60
    private static let healingRoundsMax = 4
    private static let calmOpeningsPerCheck = 4

    package var traceHash: UInt64 { trace.value }
    package var recentEvents: [String] { trace.recent }
    package var eventCount: Int { trace.eventCount }

    package init(_ options: SimulationOptions) throws {
        self.options = options
        // Images first: SQLite's own randomness (WAL salts) would differ from run to run.
        let images = try (
            Self.ledgerImage.get(), Self.ledgerImageWithoutCategories.get(),
            Self.journalImage.get()
        )
        Disk.seedSQLite(Int32(truncatingIfNeeded: options.seed | 1))
        chance = Chance(seed: options.seed)
        beginsWithoutCategories = chance.happens(0.3)
        hasSmallPages = chance.happens(0.3)
        textsPerLongOne = hasSmallPages ? 3 : 10
        let (ledger, journal) = (beginsWithoutCategories ? images.1 : images.0, images.2)
        for fault in options.faults { rates[fault] = fault.rate(inRun: options.seed) }
        let deviceCount = options.devices ?? 2 + chance.below(4)
        devicesMax = max(Self.devicesWithClonesMax, deviceCount + 1)
        let schema = chance.happens(rate(.olderHub)) ? SimulatedHub.olderSchema : .current
        hub = try SimulatedHub(
            chance: chance.split(), image: ledger, schema: schema
        ) { [unowned self] in
            let time = now + hubOffset
            hubTimes.noteReading(time)
            return time
        }
        for index in 0..<deviceCount { try addDevice(index, image: journal) }
    }

    deinit {
        for device in devices { device.close() }
        hub?.close()
    }

    // MARK: Setting up

    private func addDevice(_ index: Int, image: Disk.Image) throws {
        guard let ledger = hub.ledger else { return }
        let role: Role =
            index == 0
            ? .worker
            : index == 1
                ? .office
                : chance.happens(0.5) ? .team : Role.allCases[chance.below(3)]
        let team = role == .team ? teams[chance.below(2)] : ""
        // The first two see all that happens; others may hold a part that nobody else does.
        let territories = role == .office ? ["15", "v1", "v2"] : ["v1", "v2"]
        let territory = index < 2 ? territories[0] : territories[chance.below(territories.count)]
        let code = try ledger.invite(
            role: role, territory: role == .team ? nil : territory,
            team: role == .team ? team : nil, name: "d\(index)", lifetimeSeconds: 3_600)
        let answer = try ledger.enroll(EnrollRequest(code: code, replica: .none))
        let device = SimulatedDevice(
            name: "d\(index)", number: answer.assignment.device, role: role, team: team,
            chance: chance.split(), now: now, image: image)
        if chance.happens(rate(.clockWild)) {
            device.wallOffset =
                [-1_790_000_000_000, 378_000_000_000, -86_400_000, 3_600_000, 700_000][
                    chance.below(5)]
        }
        if chance.happens(rate(.clockDrifts)) {
            device.drift = Int64(chance.below(20_000)) - 10_000
        }
        device.isFrozen = chance.happens(rate(.clockFrozen))
        device.isNewer = chance.happens(rate(.newerClient))
        try device.open(creating: true)
        try device.journal?.enroll(
            server: "http://hub", token: "token", pin: nil, authority: nil, answer: answer)
        device.pulled = try device.inspect().map { ($0.cursor, $0.records) }
        devices.append(device)
        trace.note("\(device.name) is a \(role.name) of \(role == .team ? team : territory)")
    }

    private func rate(_ fault: Fault) -> Double { isHealing ? 0 : rates[fault] ?? 0 }

    private func strikes(_ fault: Fault) -> Bool {
        let rate = rate(fault)
        return rate > 0 && chance.happens(rate)
    }

    // MARK: Running

    /// Runs all events, heals the world, and checks that nothing was lost.
    package func run() throws {
        for _ in 0..<options.events { try step() }
        try heal()
        try checkAtRest()
    }

    private func step() throws {
        // Short enough that most answers come in time, and sometimes an hour, in which whole syncs
        // go by. Otherwise a sync is seldom done before something else happens.
        let isHour = chance.happens(0.03)
        let until = now + Int64(1 + chance.below(isHour ? 3_600_000 : 4_000))
        try deliverDue(by: until, hopsMax: isHour ? Self.hopsInAnHourMax : chance.below(3))
        now = max(now, until)
        // The others have gone on for a while; now the year is over, for all.
        if let back = devices.map(\.awayUntil).filter({ $0 > now }).min(), chance.happens(0.03) {
            now = back
            trace.note("a year has passed")
        }
        try misfortune()
        switch chance.below(10) {
        case 0..<4: try act(chance.below(devices.count))
        case 4..<6: try startSync(chance.below(devices.count))
        case 6: try operate()
        default: try deliver()
        }
        try timeOut()
    }

    /// Faults that come by themselves.
    private func misfortune() throws {
        if now >= hubDownUntil, hub.ledger == nil { try restartHub() }
        if hub.schema != .current, chance.happens(0.01) { try upgradeHub() }
        if strikes(.hubClockSteps) {
            // Sometimes so far back that all that is written for a while replaces what is newer.
            hubOffset +=
                chance.happens(0.2)
                ? -Int64(chance.below(3_600_000)) : Int64(chance.below(200_000)) - 100_000
            trace.note("the hub's clock steps to \(hubOffset)")
        }
        let index = chance.below(devices.count)
        let device = devices[index]
        if strikes(.clockSteps) {
            device.wallOffset += Int64(chance.below(100_000_000)) - 50_000_000
            trace.note("\(device.name)'s clock steps")
        }
        if strikes(.silentYear) {
            device.awayUntil = now + 365 * 86_400_000
            trace.note("\(device.name) goes silent")
        }
        if strikes(.reboot) {
            device.stop()
            device.disk.crash(.processKilled)
            device.reboot(now: now)
            trace.note("\(device.name) reboots")
            try reopen(device, isCalm: true)
        }
        if strikes(.deviceKilled) { try crash(device, .processKilled) }
        if strikes(.devicePowerLost) { try crash(device, .powerLost) }
        if strikes(.hubKilled) { crashHub(.processKilled) }
        if strikes(.hubPowerLost) { crashHub(.powerLost) }
        if strikes(.journalCorrupted) { try corruptJournal(device) }
        if strikes(.journalRestored) { try restoreJournal(device) }
        if strikes(.journalCloned) { try cloneJournal(index) }
        if strikes(.territoryChanged) { try changeTerritory() }
        if strikes(.hubRestored) { try restoreHub() }
    }

    // MARK: Crashes

    private func crash(_ device: SimulatedDevice, _ crash: Disk.Crash) throws {
        trace.note("\(device.name) loses \(crash == .powerLost ? "power" : "its process")")
        device.stop()
        device.disk.crash(crash)
        if crash == .powerLost { device.reboot(now: now) }
        try reopen(device, isCalm: crash == .processKilled)
    }

    /// - Parameter isCalm: Whether all writes had ended and none was lost. What SQLite then finds
    ///   it would find the next time too, so it is asked only sometimes.
    private func reopen(_ device: SimulatedDevice, isCalm: Bool = false) throws {
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
            let own = try journal.inspectCommands()
            try commands.checkDurable(device, own)
            if !isCalm { try checkOwnWrites(device, own) }
        } catch let error as JournalError {
            throw Violation(invariant: 25, what: "\(device.name) cannot open: \(error)")
        }
    }

    /// - Returns: Whether the journal is open; otherwise its disk failed, and it is tried again.
    ///   Nobody could notice what else happens until then.
    private func open(_ device: SimulatedDevice) throws -> Bool {
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

    private func crashHub(_ crash: Disk.Crash) {
        trace.note("the hub loses \(crash == .powerLost ? "power" : "its process")")
        hub.stop()
        hub.disk.crash(crash)
        if crash == .powerLost { hub.isCalm = false }
        hubDownUntil = now + Int64(chance.below(100_000))
    }

    private func restartHub() throws {
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
    private func hubDies() {
        hub.stop()
        hub.isCalm = false
        hubDownUntil = now + Int64(chance.below(100_000))
    }

    private func upgradeHub() throws {
        trace.note("the hub is upgraded")
        hub.stop()
        hub.schema = .current
        try restartHub()
    }

    private func restoreJournal(_ device: SimulatedDevice) throws {
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
        device.unsettled = []
        commands.copiedDevices.insert(device.number)
        try commands.forgetUnsent(of: device.number, ledger: before)
        try reopen(device)
        try restores.noteChange(of: device)
    }

    private func corruptJournal(_ device: SimulatedDevice) throws {
        device.stop()
        if let what = try device.alterRecord(chance) {
            restores.staleRows.formUnion(device.staleRows)
            trace.note("on \(device.name)'s disk a record \(what)")
        }
        try reopen(device, isCalm: true)
        try restores.noteChange(of: device)
    }

    private func cloneJournal(_ index: Int) throws {
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
    private func changeTerritory() throws {
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
    private func restoreHub() throws {
        if hub.ledger == nil { try restartHub() }
        let isPutBack = hub.replaced != nil && chance.happens(0.3)
        guard let image = isPutBack ? hub.replaced : hub.backup else {
            // With or without the process that has the term open.
            let isOnline = chance.happens(0.5)
            if !isOnline { hub.stop() }
            hub.backup = hub.disk.snapshot()
            trace.note("the hub makes a backup")
            if !isOnline { try restartHub() }
            return
        }
        if let ledger = hub.ledger {
            // Nobody will see it again.
            _ = try check(ledger)
            try restores.noteRestore(of: ledger, devices)
        }
        try commands.noteReplaced(ledger: try ledgerGroups())
        hubRestores += 1
        hub.stop()
        let former = hub.disk.snapshot()
        hub.disk.restore(image)
        hub.replaced = isPutBack ? nil : former
        // The same backup may be needed once more.
        if !isPutBack, chance.happens(0.5) { hub.backup = nil }
        hubTimes.forgetHeads()
        try restartHub()
        trace.note(
            isPutBack ? "the hub's newer ledger is put back" : "the hub goes back to its backup")
        outcomes = OutcomeChecker()
        commands.forgetLost(ledger: try ledgerGroups(), waiting: try waitingCommands())
    }

    /// What devices have that is not known to be decided.
    private func waitingCommands() throws -> Set<CommandKey> {
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

    // MARK: What people do

    private func newText(isShort: Bool = false) -> String {
        textCount += 1
        let isLong = !isShort && textCount.isMultiple(of: textsPerLongOne)
        return "x\(textCount)" + (isLong ? String(repeating: "长", count: 300) : "")
    }

    /// Runs a person's command on a device, perhaps with a fault in the middle of it.
    private func act(_ index: Int) throws {
        let device = devices[index]
        guard device.journal != nil else { return }
        let isStruck = beginOperation(device.disk, isHub: false)
        defer { endOperation(device.disk, isHub: false) }
        let clocks = device.clocks(now: now)
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
                guard try error.isAboutDeed || isOfAnotherRecord(error, device) else {
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

    /// Whether a need cannot be worked on because the hub has a note under its id: a restored
    /// journal whose clock stands still gives one out twice.
    private func isOfAnotherRecord(_ error: JournalError, _ device: SimulatedDevice) throws -> Bool
    {
        guard case .notFound(let id) = error else { return false }
        return try device.inspect()?.records.contains {
            $0.key.description == id && $0.value.kind != Kind.need.rawValue
        } ?? false
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

    private func revive(_ device: SimulatedDevice) throws {
        device.stop()
        device.disk.restart()
        device.reboot(now: now)
        try reopen(device)
    }

    /// Plans, perhaps, that a disk fails in the operation that begins: at any step and any read of
    /// it, also of a long one.
    ///
    /// - Returns: Whether it may.
    private func beginOperation(_ disk: Disk, isHub: Bool) -> Bool {
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
    private func endOperation(_ disk: Disk, isHub: Bool) {
        disk.cancelFaults()
        let steps = disk.stepCount - operationBegan
        if isHub {
            hubStepsMax = max(steps, hubStepsMax - hubStepsMax / 16)
        } else {
            deviceStepsMax = max(steps, deviceStepsMax - deviceStepsMax / 16)
        }
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
    private func operate() throws {
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

    // MARK: Syncs

    private func startSync(_ index: Int) throws {
        let device = devices[index]
        guard device.session == nil, device.journal != nil, now >= device.awayUntil
        else { return }
        var session = DeviceSession()
        let directives = session.step(.begin)
        device.session = session
        try follow(directives, index)
    }

    private func follow(_ directives: [DeviceSession.Directive], _ index: Int) throws {
        let device = devices[index]
        for directive in directives {
            switch directive {
            case .finish:
                device.session = nil
                device.pending = nil
            case .exchange(let batchBytesMax, let pageBytesMax):
                // Small at times, so that pulls take several pages.
                let pageBytes =
                    hasSmallPages || chance.happens(0.3) ? Limits.pageBytesMin : pageBytesMax
                let batchBytes = chance.happens(0.3) ? 200 : batchBytesMax
                let made: SyncRequest?
                let isStruck = beginOperation(device.disk, isHub: false)
                defer { endOperation(device.disk, isHub: false) }
                do throws(JournalError) {
                    made = try device.journal?.makeRequest(
                        batchBytesMax: batchBytes, pageBytesMax: pageBytes,
                        clocks: device.clocks(now: now),
                        attempt: UInt32(truncatingIfNeeded: chance.next()))
                } catch {
                    guard device.disk.isDown || isStruck && error.category == .disk else {
                        throw Violation(invariant: 21, what: "\(device.name): \(error)")
                    }
                    trace.note("\(device.name)'s disk fails a request")
                    if device.disk.isDown { return try revive(device) }
                    device.stop()
                    return try reopen(device)
                }
                if device.disk.isDown { return try revive(device) }
                guard let request = made else { return }
                try digests.checkRequest(request, device: device)
                device.pending = request
                device.pendingSince = now
                let message = request.encoded()
                let frame = try Frame.encode(
                    message, usesDictionary: chance.happens(0.9), namesDictionary: true,
                    borders: .request)
                try SizeChecker.check(request, message, frame)
                trace.note(
                    "\(device.name) sends \(request.groups.count) groups from "
                        + "\(request.groups.first?.firstCounter ?? request.nextCounter)")
                if strikes(.requestLost) { continue }
                send(.request(frame), index)
                if strikes(.duplicated) { send(.request(frame), index) }
            }
        }
    }

    private func send(_ content: Message.Content, _ device: Int) {
        var at = now + Int64(1 + chance.below(300))
        if strikes(.delayed) { at += Int64(chance.below(100_000)) }
        if strikes(.hung) { at += 10 * Self.answerTimeoutMilliseconds }
        if !messages.isEmpty, strikes(.reordered) {
            swap(&messages[chance.below(messages.count)].at, &at)
        }
        messageCount += 1
        messages.append(Message(at: at, order: messageCount, device: device, content: content))
    }

    /// Damages a frame on its way.
    private func travelled(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        if strikes(.truncated) { bytes.removeLast(chance.below(bytes.count)) }
        if strikes(.bitFlipped), !bytes.isEmpty {
            bytes[chance.below(bytes.count)] ^= 1 << UInt8(chance.below(8))
        }
        return bytes
    }

    /// Delivers what is due by a time, and what that brings about.
    private func deliverDue(by time: Int64, hopsMax: Int) throws {
        for _ in 0..<hopsMax {
            guard messages.contains(where: { $0.at <= time }) else { return }
            try deliver()
        }
    }

    /// Delivers the message that is due first.
    private func deliver() throws {
        if !oldAnswers.isEmpty, strikes(.staleAnswer) {
            let old = oldAnswers[chance.below(oldAnswers.count)]
            try receive(old.bytes, old.device, from: old.hub)
            return
        }
        guard
            let next = messages.indices.min(by: {
                (messages[$0].at, messages[$0].order) < (messages[$1].at, messages[$1].order)
            })
        else { return }
        let message = messages.remove(at: next)
        now = max(now, message.at)
        // Whoever has waited too long by then does not wait for it.
        try timeOut()
        switch message.content {
        case .request(let frame):
            var requests = [(bytes: travelled(frame), device: message.device)]
            while strikes(.sharedCommit), let next = nextRequest() {
                requests.append((travelled(next.bytes), next.device))
            }
            try serve(requests)
        case .answer(let frame, let hub): try receive(travelled(frame), message.device, from: hub)
        }
    }

    /// Takes a request that arrives so soon that it shares a commit with the one before it.
    private func nextRequest() -> (bytes: [UInt8], device: Int)? {
        let until = now + Self.commitMilliseconds
        for (index, message) in messages.enumerated() where message.at <= until {
            guard case .request(let bytes) = message.content else { continue }
            messages.remove(at: index)
            return (bytes, message.device)
        }
        return nil
    }

    /// The hub's side of requests that share a commit; mostly of one.
    private func serve(_ frames: [(bytes: [UInt8], device: Int)]) throws {
        guard let ledger = hub.ledger else { return }
        var calls: [(index: Int, request: SyncRequest, frame: [UInt8])] = []
        for frame in frames {
            do {
                let message = try Frame.decode(frame.bytes).message
                calls.append((frame.device, try SyncRequest(decoding: message), frame.bytes))
                if strikes(.hostileFrame) { try attackHub(message, as: devices[frame.device]) }
            } catch is FrameError {
                trace.note("the hub refuses a damaged frame")
            }
        }
        guard !calls.isEmpty else { return }
        let headBefore = try ledger.head()
        if calls.count > 1 { hub.noteShared(calls.map(\.request)) }
        let isStruck = beginOperation(hub.disk, isHub: true)
        defer { endOperation(hub.disk, isHub: true) }
        let results: [Result<SyncAnswer, any Error>]
        do {
            results = try ledger.sync(
                calls.map { (devices[$0.index].number, $0.request, $0.frame) }
            ).answers
        } catch let error as LedgerError {
            if hub.disk.isDown {
                trace.note("the hub dies in a request")
                return hubDies()
            }
            guard isStruck, error.isOfDisk else {
                throw Violation(invariant: 21, what: "the hub fails requests: \(error)")
            }
            trace.note("the hub's disk fails a request")
            hub.isCalm = false
            return
        }
        if hub.disk.isDown { return hubDies() }
        endOperation(hub.disk, isHub: true)
        if calls.count > 1 {
            commitsShared += 1
            trace.note("\(calls.count) requests share a commit")
        }
        var answers: [(index: Int, request: SyncRequest, answer: SyncAnswer)] = []
        for (offset, (call, result)) in zip(calls, results).enumerated() {
            let answer: SyncAnswer
            do {
                answer = try result.get()
            } catch let error as LedgerError {
                guard isStruck, error.isOfDisk else {
                    throw Violation(
                        invariant: 21,
                        what: "the hub fails \(devices[call.index].name): \(error)")
                }
                trace.note("the hub's disk fails a request")
                hub.isCalm = false
                continue
            }
            answers.append((call.index, call.request, answer))
            try check(
                answer, to: call.request, of: devices[call.index], headBefore: headBefore,
                isLast: offset == calls.count - 1)
        }
        hubTimes.noteHead(try ledger.head())
        if strikes(.hubKilledBeforeReply) {
            crashHub(.processKilled)
            return
        }
        for (index, request, answer) in answers { try send(answer, to: request, of: index) }
    }

    /// - Parameter isLast: Whether the ledger is as it was when the page was served.
    private func check(
        _ answer: SyncAnswer, to request: SyncRequest, of device: SimulatedDevice,
        headBefore: UInt64, isLast: Bool
    ) throws {
        try outcomes.check(request, answer, headBefore: headBefore)
        let holding = try hub.rightfulHolding(of: device.number)
        pulls.noteScope(holding.scope, of: device)
        guard isLast else { return }
        try pulls.noteServed(answer, to: request, holding: holding, device: device, by: hub)
        try digests.noteServed(
            answer, to: request, records: hub.records(), holding: holding, device: device,
            isHealing: isHealing)
    }

    private func send(_ answer: SyncAnswer, to request: SyncRequest, of index: Int) throws {
        let message = answer.encoded(for: request)
        let frame = try Frame.encode(message, usesDictionary: true, borders: .answer)
        try SizeChecker.check(answer, message, frame)
        trace.note(bytes: frame)
        oldAnswers.append((index, frame, hubRestores))
        if oldAnswers.count > 20 { oldAnswers.removeFirst() }
        if strikes(.answerLost) {
            trace.note("the answer to \(devices[index].name) is lost")
            return
        }
        send(.answer(frame, hub: hubRestores), index)
        if strikes(.duplicated) { send(.answer(frame, hub: hubRestores), index) }
    }

    /// An answer of a hub that was meanwhile put back to before it may have settled what is lost
    /// with it; and if it ended a recovery there, the device has brought nothing back to the
    /// present one.
    private func noteAbsorbed(
        _ device: SimulatedDevice, _ answer: SyncAnswer, isComplete: Bool, isFormer: Bool
    ) throws {
        if isFormer {
            commands.forgetLost(ledger: try ledgerGroups(), waiting: try waitingCommands())
        }
        guard isComplete else { return }
        if answer.recovered != nil && !isFormer {
            restores.noteReturn(of: device)
        } else {
            try restores.noteChange(of: device)
        }
    }

    /// The answer may be durable although nobody was told.
    private func noteInterrupted(
        _ device: SimulatedDevice, _ answer: SyncAnswer?, isFormer: Bool
    ) throws {
        device.pulled = nil
        // If it is durable, what its writers have sent again counts here too.
        if answer?.recovered != nil { device.newestShown = [:] }
        guard let answer, answer.recovered == nil || isFormer else { return }
        try noteAbsorbed(device, answer, isComplete: true, isFormer: isFormer)
    }

    private func receive(_ frame: [UInt8], _ index: Int, from hub: Int) throws {
        let isFormer = hub != hubRestores
        let device = devices[index]
        guard let request = device.pending, device.session != nil, device.journal != nil
        else { return }
        let event: DeviceSession.Event
        let isStruck = beginOperation(device.disk, isHub: false)
        defer { endOperation(device.disk, isHub: false) }
        var received: SyncAnswer?
        // When the disk fails, the answer may be durable or not: what waits need not be here still.
        do {
            let message = try Frame.decode(frame).message
            let answer = try SyncAnswer(decoding: message, for: request)
            received = answer
            if strikes(.hostileFrame) { try attack(device, message, to: request) }
            let absorbed = try device.journal?.absorb(
                message, for: request, clocks: device.clocks(now: now))
            guard let absorbed else { return }
            endOperation(device.disk, isHub: false)
            device.knownGrids = nil
            trace.note(
                "\(device.name) absorbs: \(absorbed.settledGroups) settled, "
                    + "\(answer.page?.records.count ?? 0) records"
                    + (absorbed.answer.pullComplete ? ", complete" : ""))
            if let page = answer.page { device.isMidPull = page.cursor == nil }
            if device.disk.isDown {
                device.unsettled.removeAll()
                try revive(device)
                try noteInterrupted(device, received, isFormer: isFormer)
                return
            }
            guard let own = try device.journal?.inspectCommands(),
                let inspection = try device.inspect()
            else { return }
            try pulls.checkStaged(answer, inspection, device: device)
            try commands.noteAbsorbed(
                device, own, cursor: inspection.cursor.sequence,
                outcomes: restores.happened ? nil : outcomes)
            try noteAbsorbed(
                device, answer, isComplete: absorbed.answer.pullComplete, isFormer: isFormer)
            if absorbed.answer.pullComplete {
                let areEqual = try pulls.checkAbsorbed(answer, inspection, device: device) {
                    digests.isTainted($0, device.altered)
                }
                try digests.checkAbsorbed(
                    answer, inspection, areEqual: areEqual, device: device)
                // What its writer sent again got another stamp, so nothing can be compared.
                if answer.recovered != nil { device.newestShown = [:] }
                try checkMonotonic(device, inspection)
            }
            try checkOwnWrites(device, own)
            event = .absorbed(absorbed.answer)
        } catch let error as JournalError {
            if device.disk.isDown {
                trace.note("\(device.name) dies while absorbing")
                device.unsettled.removeAll()
                try revive(device)
                try noteInterrupted(device, received, isFormer: isFormer)
                return
            }
            if error == .staleAnswer {
                // Another answer than the one awaited: the wait goes on.
                trace.note("\(device.name) refuses a stale answer")
                return
            }
            guard error.category == .disk, isStruck else {
                throw Violation(
                    invariant: 14, what: "\(device.name) cannot absorb an answer: \(error)")
            }
            trace.note("\(device.name)'s disk fails an answer")
            device.unsettled.removeAll()
            device.stop()
            try reopen(device)
            try noteInterrupted(device, received, isFormer: isFormer)
            return
        } catch is FrameError {
            trace.note("\(device.name) refuses a damaged answer")
            event = .failed(isTemporary: true)
        }
        device.pending = nil
        guard var session = device.session else { return }
        let directives = session.step(event)
        device.session = session
        try follow(directives, index)
    }

    private func timeOut() throws {
        for (index, device) in devices.enumerated() {
            // The time comes first: to look at a request is to copy it.
            guard now - device.pendingSince > Self.answerTimeoutMilliseconds,
                device.pending != nil, var session = device.session
            else { continue }
            trace.note("\(device.name) gives up waiting")
            device.pending = nil
            let directives = session.step(.failed(isTemporary: true))
            device.session = session
            try follow(directives, index)
        }
    }

    // MARK: Healing

    /// No more faults: everybody syncs until all is at rest.
    private func heal() throws {
        isHealing = true
        trace.note("healing")
        now = max(now + 1_000, devices.map(\.awayUntil).max() ?? 0)
        if hub.schema != .current { try upgradeHub() }
        if hub.ledger == nil { try restartHub() }
        messages.removeAll()
        for device in devices {
            device.session = nil
            device.pending = nil
            if device.journal == nil { try reopen(device) }
            guard let journal = device.journal else { continue }
            let isSearching = try device.inspect()?.isSearching ?? false
            let check = try journal.check()
            // What a pull began to look for is no finding of the check's own.
            guard check.isSound || isSearching || !device.altered.isEmpty else {
                throw Violation(
                    invariant: 18, what: "\(device.name) finds damage that is not: \(check)")
            }
        }
        // Clones fork and send; others then have something to pull: a few rounds settle it.
        var heads: [UInt64?] = devices.map { _ in nil }
        for _ in 0..<Self.healingRoundsMax {
            for index in devices.indices {
                try syncToRest(index)
                heads[index] = try hub.ledger?.head()
            }
            // Nothing came after anybody's last sync, so in a further round nothing would.
            let isSettled = try devices.allSatisfy { device in
                try device.altered.isEmpty
                    && device.journal?.inspectCommands().outbox.isEmpty ?? true
            }
            if isSettled, heads.allSatisfy({ $0 == heads.last }) { break }
        }
    }

    private func syncToRest(_ index: Int) throws {
        try startSync(index)
        var rounds = 0
        // A page has a record at least, and all may have to be brought back and come anew.
        let roundsMax = try Self.roundsToRestMax + 4 * hub.records().count
        while devices[index].session != nil {
            rounds += 1
            guard rounds <= roundsMax else {
                throw Violation(
                    invariant: 22, what: "\(devices[index].name) does not come to rest")
            }
            now += 100
            guard !messages.isEmpty else {
                throw Violation(invariant: 22, what: "\(devices[index].name) waits for nothing")
            }
            try deliver()
        }
    }

    func ledgerGroups() throws -> [InspectedGroup] {
        if hub.ledger == nil { try restartHub() }
        return try hub.ledger?.inspectGroups() ?? []
    }

    // MARK: Checks that need the world

    /// Invariant 8: a person reads their own writes, as long as no newer ones were pulled.
    private func checkOwnWrites(_ device: SimulatedDevice, _ own: InspectedCommands) throws {
        func fail(_ what: String) -> Violation {
            Violation(invariant: 8, what: "\(device.name) does not show its own \(what)")
        }
        var last: [RecordID: [UInt32: [UInt8]?]] = [:]
        var missing: [RecordID: UInt32] = [:]
        for entry in own.outbox {
            let group = entry.group
            if let kind = group.createdKind { missing[group.record] = kind }
            for change in group.changes {
                last[group.record, default: [:]].updateValue(change.value, forKey: change.field)
            }
        }
        guard !last.isEmpty else { return }
        let needs = try device.needs()
        for need in needs {
            // A restored journal whose clock stands still may give a need's id to a note, and then
            // both write the same fields.
            if let kind = missing[need.id], kind != Kind.need.rawValue { continue }
            missing[need.id] = nil
            for (field, value) in last[need.id] ?? [:]
            where need.record.value(field) != value {
                throw fail("field \(field) of \(need.id)")
            }
        }
        for (id, kind) in missing where !digests.isTainted(id, device.everAltered) {
            switch Kind(rawValue: kind) {
            case .need: throw fail("need \(id)")
            case .note:
                let fields = last[id] ?? [:]
                // With its need it is out of sight.
                guard let bytes = fields[NoteField.need.rawValue] ?? nil,
                    let need = RecordID(bytes: bytes), needs.contains(where: { $0.id == need }),
                    let text = fields[NoteField.text.rawValue] ?? nil
                else { continue }
                let shown = try device.journal?.notes(of: need) ?? []
                guard shown.contains(where: { $0.id == id && Array($0.text.utf8) == text }) else {
                    throw fail("note \(id)")
                }
            default: continue
            }
        }
    }

    /// Invariant 9: what the hub says of a field never goes back.
    private func checkMonotonic(
        _ device: SimulatedDevice, _ inspection: JournalInspection
    ) throws {
        guard device.altered.isEmpty else {
            // A disk can bring back what was, and more.
            device.newestShown = [:]
            return
        }
        for (id, record) in inspection.records where record.isVisible {
            guard let former = device.newestShown[id], former.isVisible,
                !record.isSame(as: former)
            else { continue }
            // The register of late answers is a set that the hub keeps, not a field that the last
            // writer wins.
            for (field, versions) in record.fields where field != LateAnswers.field {
                if let before = former.fields[field]?.first, let winner = versions.first,
                    winner.stamp.milliseconds < before.stamp.milliseconds,
                    try !wasBroughtBack(id, field)
                {
                    throw Violation(
                        invariant: 9, what: "\(device.name): field \(field) of \(id) went back")
                }
            }
        }
        device.newestShown = inspection.records
    }

    /// What a device brought back to a restored hub keeps its stamp, or loses what of it lies in
    /// the hub's future, also where it covers what has a newer one: what its writer has sent again
    /// meanwhile, or what came before the hub's clock stepped back. What replaces it then need only
    /// be later than itself. A late answer may tell of it that comes from a hub that was put back
    /// once more.
    private func wasBroughtBack(_ id: RecordID, _ field: UInt32) throws -> Bool {
        guard restores.happened else { return false }
        if restores.formerlyBrought.contains(.init(record: id, field: field)) { return true }
        if hub.ledger == nil { try restartHub() }
        return try hub.ledger?.inspectBrought().contains {
            $0.record == id && $0.field == field
        } ?? false
    }

    /// Invariants 6 and 17: a person is shown the needs that are not deleted, and no other; and of
    /// each the conflicts that are open.
    ///
    /// - Parameter records: What the ledger has for the device.
    private func checkShown(_ device: SimulatedDevice, _ records: [InspectedRecord]) throws {
        let needs = records.filter { record in
            record.kind == Kind.need.rawValue
                && !record.fields.contains {
                    $0.field == NeedField.withdrawal.rawValue && $0.register.winner?.value != nil
                }
        }
        let shown = try device.needs()
        let ids = shown.filter { !$0.isWithdrawn }.map(\.id)
        for id in Set(ids).symmetricDifference(needs.map(\.id))
        where !device.everAltered.contains(id) {
            throw Violation(
                invariant: 17,
                what: "\(device.name) \(ids.contains(id) ? "shows" : "does not show") \(id)")
        }
        let conflicts = Dictionary(
            uniqueKeysWithValues: shown.map { ($0.id, Set($0.conflicts.map(\.field))) })
        for record in records
        where record.kind == Kind.need.rawValue && !device.everAltered.contains(record.id) {
            let open = conflicts[record.id] ?? []
            guard open == record.openConflicts else {
                throw Violation(
                    invariant: 6,
                    what: "\(device.name) shows conflicts of \(open.map(\.name).sorted()) of "
                        + "\(record.id), there are \(record.openConflicts.map(\.name).sorted())")
            }
        }
    }

    /// What a ledger holds is sound, and follows from its history.
    private func check(
        _ ledger: Ledger
    ) throws -> (
        records: [InspectedRecord], groups: [InspectedGroup], brought: [InspectedBrought]
    ) {
        let findings = try ledger.check()
        guard findings.isEmpty else {
            throw Violation(invariant: 25, what: "\(findings)")
        }
        let inspected = try (
            records: ledger.inspectRecords(), groups: ledger.inspectGroups(),
            brought: ledger.inspectBrought()
        )
        try LedgerChecker(
            records: inspected.records, groups: inspected.groups, brought: inspected.brought,
            restores: restores, head: try ledger.head(), times: hubTimes
        ).check()
        return inspected
    }

    private func checkAtRest() throws {
        guard let ledger = hub.ledger else {
            throw Violation(invariant: 22, what: "the hub is down after healing")
        }
        let (records, groups, brought) = try check(ledger)
        let known = records.map { KnownRecord($0) }
        var inspections: [(SimulatedDevice, JournalInspection)] = []
        for device in devices {
            guard let inspection = try device.inspect() else { continue }
            inspections.append((device, inspection))
            guard inspection.outbox.isEmpty else {
                throw Violation(
                    invariant: 22, what: "\(device.name) still waits after healing")
            }
            let holding = RightfulHolding(
                of: known, in: try ledger.scope(ofDevice: device.number))
            try pulls.checkEqual(
                inspection, holding: holding, device: device, wasRestored: restores.happened)
            try digests.checkAtRest(
                inspection, holding: holding, device: device, wasRestored: restores.happened)
            try checkShown(device, records.filter { holding.fingerprints[$0.id] != nil })
        }
        try commands.checkOutcomes(ledger: groups, brought: brought, journals: inspections)
        try schemas.check(
            records: records, journals: inspections, hub: hub.schema,
            copied: commands.copiedDevices)
        try restores.check(records: records, groups: groups, brought: brought)
        trace.note("rest: \(records.count) records, \(groups.count) groups")
    }
}

extension LedgerError {
    /// Whether a disk that fails may be the reason.
    fileprivate var isOfDisk: Bool {
        switch self {
        case .disk, .file: true
        case .busy, .damaged, .invalid, .row, .notFound, .codeUnknown, .codeUsed, .codeExpired,
            .tokenUnknown, .revoked, .forbidden:
            false
        }
    }
}

extension JournalError {
    /// Whether it tells a person why something cannot be done, and nothing of the journal.
    fileprivate var isAboutDeed: Bool {
        switch self {
        case .notAllowed, .wrongState, .notYourJob, .nothingToSettle, .noSuchVersion,
            .formerOrder, .notRefused, .tooDamaged, .unknownTeam, .unknownCategory,
            .outsideTerritory, .unknownGrid:
            true
        default: false
        }
    }
}
