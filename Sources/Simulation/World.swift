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
    var trace = Trace()
    /// The true time, in milliseconds since 1970.
    var now = start
    var hubOffset: Int64 = 0
    var hubTimes = HubTimes()
    private(set) var hub: SimulatedHub!
    var devices: [SimulatedDevice] = []
    private var rates: [Fault: Double] = [:]
    private(set) var isHealing = false
    var messages: [Message] = []
    var messageCount = 0
    var oldAnswers: [(device: Int, bytes: [UInt8], hub: Int)] = []
    var hubRestores = 0
    var textCount = 0
    var pulls = PullChecker()
    var digests = DigestChecker()
    let commands = CommandChecker()
    var outcomes = OutcomeChecker()
    var restores = RestoreChecker()
    var schemas = SchemaChecker()
    var commitsShared = 0
    var hubDownUntil: Int64 = 0
    /// The disk's steps when the operation under way began, and how many the longest had of late.
    var operationBegan = 0
    var deviceStepsMax = stepsOfShortOperation
    var hubStepsMax = stepsOfShortOperation
    var territoryVersion = 0
    /// With clones.
    let devicesMax: Int
    /// Whether a person's command takes a value as it lies there, and types none.
    var usesWhatIsThere = false
    /// Whether there are no categories at first. Until they come people invent their own; who has
    /// not heard of them by then is refused, and whatever builds on it.
    let beginsWithoutCategories: Bool
    /// Whether every pull takes as many pages as it can.
    let hasSmallPages: Bool
    /// One text of so many is long, so that pulls take several pages.
    let textsPerLongOne: Int
    /// What the operator has imported by now; a restored hub may know less again.
    var grids = ["g1", "g2", "g3"]
    var teams = ["t1", "t2"]

    struct Message {
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

    static let start: Int64 = 1_795_000_000_000
    /// Making tables takes as long as many events, and no fault strikes before the first of them.
    private static let ledgerImage = Result { try SimulatedHub.image(now: start) }
    private static let ledgerImageWithoutCategories = Result {
        try SimulatedHub.image(now: start, hasCategories: false)
    }
    private static let journalImage = Result { try SimulatedDevice.image() }

    static let gridsMax = 6
    static let teamsMax = 4
    private static let devicesWithClonesMax = 6
    /// Of a silent hour.
    private static let hopsInAnHourMax = 40
    static let stepsOfShortOperation = 12
    static let answerTimeoutMilliseconds: Int64 = 60_000
    /// Of a very slow disk, so that requests meet.
    static let commitMilliseconds: Int64 = 2_000
    private static let roundsToRestMax = 60
    private static let healingRoundsMax = 4
    static let calmOpeningsPerCheck = 4

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
        device.pulled = try device.inspect().map(device.pulled(in:))
        devices.append(device)
        trace.note("\(device.name) is a \(role.name) of \(role == .team ? team : territory)")
    }

    func rate(_ fault: Fault) -> Double { isHealing ? 0 : rates[fault] ?? 0 }

    func strikes(_ fault: Fault) -> Bool {
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
}
