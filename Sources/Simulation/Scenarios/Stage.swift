import DeviceJournal
import HubLedger
import NeedModel
import SimulatedDisk
import SyncCore
import WireFormat

/// A hub and the devices of one story. Nothing happens by itself: time stands still until
/// ``pass(seconds:)``, and a device says something to the hub only when it syncs.
///
/// The territory is the banner 15 with the villages v1 (grids g1 and g2) and v2 (grid g3), the
/// teams t1 and t2, and no categories.
final class Stage {
    enum Network {
        case works
        /// The hub never hears of it.
        case losesRequests
        /// The hub admits, and the device never hears of it.
        case losesAnswers
    }

    private final class Time {
        var now: Int64 = 1_795_000_000_000
    }

    private let time = Time()
    private let chance = Chance(seed: 1)
    let hub: SimulatedHub
    private(set) var devices: [StageDevice] = []
    var network = Network.works
    private var restores = RestoreChecker()
    private var attempts: UInt32 = 0

    private init() throws {
        let time = time
        hub = try SimulatedHub(
            chance: chance.split(), image: SimulatedHub.image(now: time.now, hasCategories: false)
        ) { time.now }
    }

    /// Plays a story on a stage of its own.
    static func play<Result>(_ story: (Stage) throws -> Result) throws -> Result {
        let stage = try Stage()
        defer {
            for device in stage.devices { device.machine.close() }
            stage.hub.close()
        }
        return try story(stage)
    }

    var now: Int64 { time.now }

    func pass(seconds: Int64) { time.now += seconds * 1_000 }

    // MARK: The hub

    var ledger: Ledger {
        get throws {
            guard let ledger = hub.ledger else {
                throw ScenarioFailure(description: "the hub is not running")
            }
            return ledger
        }
    }

    func restartHub() throws {
        hub.stop()
        hub.disk.restart()
        try hub.open()
    }

    /// A copy of the hub's disk.
    func backUpHub() throws -> Disk.Image {
        hub.stop()
        let image = hub.disk.snapshot()
        try hub.open()
        return image
    }

    /// Puts an older copy of the hub's disk in place, and goes on from there.
    func restoreHub(_ image: Disk.Image) throws {
        try restores.noteRestore(of: InspectedLedger(ledger), devices.map(\.machine))
        hub.stop()
        hub.disk.restore(image)
        try hub.open()
    }

    /// Another program on the same ledger, as the operator's commands are.
    func secondProcess() throws -> Ledger {
        let time = time
        return try Ledger(
            opening: SimulatedHub.path, clock: { time.now }, random: chance.split().source,
            vfs: hub.disk.vfsName)
    }

    func move(grid: String, to village: String) throws {
        _ = try ledger.importTable(
            .territory, csv: "code,name,level,parent\n\(grid),格,grid,\(village)\n")
    }

    func addCategory(_ code: String) throws {
        _ = try ledger.importTable(.categories, csv: "code,name\n\(code),类\n")
    }

    /// A need as the ledger has it.
    func stored(_ need: RecordID) throws -> InspectedRecord {
        guard let record = try ledger.inspectRecords().first(where: { $0.id == need }) else {
            throw ScenarioFailure(description: "the ledger lacks a need")
        }
        return record
    }

    func storedNeedCount() throws -> Int {
        try ledger.inspectRecords().count { $0.kind == Kind.need.rawValue }
    }

    /// Takes a request through a frame, and the answer through another.
    func answer(_ request: SyncRequest, to device: StageDevice) throws -> SyncAnswer {
        let frame = try Frame.encode(request.encoded(), usesDictionary: true)
        let received = try SyncRequest(decoding: Frame.decode(frame).message)
        let answers = try ledger.sync([(device.machine.number, received, frame)]).answers
        let answer = try Frame.encode(
            answers[0].get().encoded(for: received), usesDictionary: true)
        return try SyncAnswer(decoding: Frame.decode(answer).message, for: request)
    }

    func nextAttempt() -> UInt32 {
        attempts += 1
        return attempts
    }

    // MARK: People

    /// - Parameter territory: Of any level: `15`, `v1`, `g1`.
    func worker(_ name: String, in territory: String) throws -> StageDevice {
        try enrol(name, .worker, territory: territory, team: nil)
    }

    func office(_ name: String) throws -> StageDevice {
        try enrol(name, .office, territory: "15", team: nil)
    }

    func team(_ name: String, of team: String) throws -> StageDevice {
        try enrol(name, .team, territory: nil, team: team)
    }

    private func enrol(
        _ name: String, _ role: Role, territory: String?, team: String?
    ) throws -> StageDevice {
        let code = try ledger.invite(
            role: role, territory: territory, team: team, name: name, lifetimeSeconds: 3_600)
        let answer = try ledger.enroll(EnrollRequest(code: code, replica: .none))
        let device = add(name, number: answer.assignment.device, role, team: team ?? "")
        try device.machine.open(creating: true)
        try device.journal.enroll(
            server: "http://hub", token: "token", pin: nil, authority: nil, answer: answer)
        return device
    }

    func add(
        _ name: String, number: Int64, _ role: Role, team: String,
        image: Disk.Image = Disk.Image()
    ) -> StageDevice {
        let device = StageDevice(
            self,
            SimulatedDevice(
                name: name, number: number, role: role, team: team, chance: chance.split(),
                now: now, image: image))
        devices.append(device)
        return device
    }

    // MARK: The end

    /// Lets everybody sync until nothing is left to tell, and then compares everything with the
    /// simulator's own checkers.
    func settle() throws {
        for _ in 0..<3 {
            for device in devices {
                try expect(try device.sync() == .complete, "\(device.name) does not come to rest")
            }
        }
        let ledger = try ledger
        let inspected = try LedgerChecker.check(
            ledger, restores: restores, times: HubTimes(newest: now))
        try restores.check(
            records: inspected.records, groups: inspected.groups, brought: inspected.brought)
        let known = inspected.records.map { KnownRecord($0) }
        for device in devices {
            let inspection = try device.journal.inspect()
            try expect(inspection.outbox.isEmpty, "\(device.name) still waits")
            try PullChecker().checkEqual(
                inspection,
                holding: RightfulHolding(
                    of: known, in: try ledger.scope(ofDevice: device.machine.number)),
                device: device.machine)
        }
    }
}

/// One person's device on a stage.
final class StageDevice {
    private unowned let stage: Stage
    let machine: SimulatedDevice

    init(_ stage: Stage, _ machine: SimulatedDevice) {
        self.stage = stage
        self.machine = machine
    }

    var name: String { machine.name }
    var clocks: ClockReading { machine.clocks(now: stage.now) }

    var journal: Journal {
        get throws {
            guard let journal = machine.journal else {
                throw ScenarioFailure(description: "\(name) is switched off")
            }
            return journal
        }
    }

    // MARK: What its person does

    func record(
        _ text: String, in grid: String, category: String? = nil
    ) throws -> RecordID {
        try journal.addNeed(
            [
                FieldEdit(.text, .text(text)), FieldEdit(.grid, .text(grid)),
                FieldEdit(.category, category.map { .text($0) }),
            ], clocks: clocks
        ).id
    }

    func set(_ field: NeedField, of need: RecordID, to text: String) throws {
        _ = try journal.editNeed(need, [FieldEdit(field, .text(text))], clocks: clocks)
    }

    func withdraw(_ need: RecordID) throws {
        _ = try journal.withdraw(need, reason: "重复", clocks: clocks)
    }

    func bringBack(_ need: RecordID) throws {
        _ = try journal.undoWithdrawal(need, clocks: clocks)
    }

    func dispatch(_ need: RecordID, to team: String) throws {
        _ = try journal.dispatch(need, team: team, clocks: clocks)
    }

    // MARK: What its person sees

    func shown(_ need: RecordID) throws -> NeedSnapshot? {
        try journal.needs(includingWithdrawn: true).first { $0.id == need }
    }

    // MARK: Syncs

    /// Syncs as the program does, however long it takes.
    ///
    /// - Parameters:
    ///   - batchBytes: Content of one batch, instead of what the session would send.
    ///   - pageBytes: The same of a page.
    @discardableResult
    func sync(batchBytes: Int? = nil, pageBytes: Int? = nil) throws -> DeviceSession.Result {
        var session = DeviceSession()
        var directives = session.step(.begin)
        while let directive = directives.first {
            switch directive {
            case .finish(let result): return result
            case .exchange(let batchBytesMax, let pageBytesMax):
                let event = try exchange(
                    batchBytes: batchBytes ?? batchBytesMax, pageBytes: pageBytes ?? pageBytesMax)
                directives = session.step(event)
            }
        }
        throw ScenarioFailure(description: "\(name)'s session says nothing more")
    }

    /// One round trip.
    @discardableResult
    func exchange(
        batchBytes: Int, pageBytes: Int = Limits.pageBytesMax
    ) throws -> DeviceSession.Event {
        let request = try request(batchBytes: batchBytes, pageBytes: pageBytes)
        if stage.network == .losesRequests { return .failed(isTemporary: true) }
        let answer = try stage.answer(request, to: self)
        if stage.network == .losesAnswers { return .failed(isTemporary: true) }
        return .absorbed(try absorb(answer, for: request))
    }

    func request(
        batchBytes: Int = Limits.batchBytesMax, pageBytes: Int = Limits.pageBytesMax
    ) throws -> SyncRequest {
        try journal.makeRequest(
            batchBytesMax: batchBytes, pageBytesMax: pageBytes, clocks: clocks,
            attempt: stage.nextAttempt())
    }

    @discardableResult
    func absorb(_ answer: SyncAnswer, for request: SyncRequest) throws -> DeviceSession.Answer {
        try journal.absorb(
            answer.encoded(for: request), for: request, clocks: clocks
        ).answer
    }

    /// One round trip.
    ///
    /// - Returns: Whether the pull is complete.
    func pullPage() throws -> Bool {
        let request = try request(pageBytes: Limits.pageBytesMin)
        return try absorb(stage.answer(request, to: self), for: request).pullComplete
    }

    // MARK: What becomes of its machine

    /// Kills the program or cuts the power, and starts anew.
    func crash(_ crash: Disk.Crash) throws {
        machine.stop()
        machine.disk.crash(crash)
        try start()
    }

    /// Starts the program after a crash or an error.
    func start() throws {
        machine.stop()
        machine.disk.restart()
        machine.disk.cancelFaults()
        machine.reboot(now: stage.now)
        try machine.open()
    }

    /// Copies the switched-off machine's disk into another one.
    func clone() throws -> StageDevice {
        machine.stop()
        let image = machine.disk.snapshot()
        try machine.open()
        let clone = stage.add(
            name + "'", number: machine.number, machine.role, team: machine.team, image: image)
        try clone.machine.open()
        return clone
    }
}
