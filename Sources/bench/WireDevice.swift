import DeviceSync
import Glibc
import HubLedger
import NeedModel
import SyncCore
import WireFormat

/// What goes wrong in a measurement; it ends the run, since a figure would be wrong.
struct BenchError: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// What a device knows between two runs of the program: one line of a text file.
struct DeviceState: Sendable {
    /// Its place among the devices of the ledger.
    var index: Int
    var device: Int64
    var token: String
    var grid: String
    var replica: ReplicaID
    var nextCounter: UInt64 = 1
    var nextNumber: UInt64 = 1
    var cursor = Position.origin
    var scope: UInt64 = 0
    /// Of all below ``nextCounter``.
    var chain = HashChain.empty

    /// Of its need number `number`, which only it can have recorded.
    func record(_ number: UInt64) -> RecordID {
        RecordID(
            milliseconds: Workload.recordedMilliseconds(number), replica: replica, number: number)
    }

    /// How many needs it has recorded.
    var needs: Int { Int(nextNumber) - 1 }

    var line: String {
        [
            "\(index)", "\(device)", token, grid, "\(replica.rawValue)", "\(nextCounter)",
            "\(nextNumber)", "\(cursor.term.rawValue)", "\(cursor.sequence)", "\(scope)",
            "\(chain.value)",
        ].joined(separator: " ")
    }

    init(index: Int, device: Int64, token: String, grid: String, replica: ReplicaID) {
        self.index = index
        self.device = device
        self.token = token
        self.grid = grid
        self.replica = replica
    }

    init(line: Substring) throws {
        let parts = line.split(separator: " ")
        guard parts.count == 11, let index = Int(parts[0]), let device = Int64(parts[1]),
            let replica = UInt64(parts[4]), let nextCounter = UInt64(parts[5]),
            let nextNumber = UInt64(parts[6]), let term = UInt64(parts[7]),
            let sequence = UInt64(parts[8]), let scope = UInt64(parts[9]),
            let chain = UInt64(parts[10])
        else { throw BenchError("the file of devices is not one of ours") }
        self.init(
            index: index, device: device, token: String(parts[2]), grid: String(parts[3]),
            replica: ReplicaID(truncating: replica))
        self.nextCounter = nextCounter
        self.nextNumber = nextNumber
        cursor = Position(term: TermID(truncating: term), sequence: sequence)
        self.scope = scope
        self.chain = HashChain(chain)
    }

    static func read(_ path: String) throws -> [DeviceState] {
        try TextFile.read(path).split(separator: "\n").map { try DeviceState(line: $0) }
    }

    static func write(_ states: [DeviceState], to path: String) throws {
        try TextFile.write(states.map(\.line).joined(separator: "\n") + "\n", to: path)
    }
}

/// A device without a journal: it speaks the protocol with the production code for messages,
/// frames, sessions and HTTP, and remembers nothing but its place. So one process can be many
/// devices, and what is measured is the hub.
final class WireDevice {
    var state: DeviceState
    private var resume: [UInt8] = []
    /// Below each group that was written, by its counter.
    private var chains: [UInt64: HashChain] = [:]
    /// The scope of the pull under way, held once it is complete.
    private var assignedScope: UInt64?
    private let workload: Workload
    private var chance: Chance

    init(_ state: DeviceState, workload: Workload) {
        self.state = state
        self.workload = workload
        chance = Chance(state.replica.rawValue ^ state.nextCounter)
    }

    // MARK: Writing

    /// Records needs, each with all its fields; the base is the present cursor.
    func create(_ count: Int) -> [ChangeGroup] {
        (0..<count).map { _ in
            let number = state.nextNumber
            state.nextNumber += 1
            return group(
                state.record(number), creating: .need,
                workload.need(state.index * 10_000_000 + Int(number), grid: state.grid),
                at: Workload.recordedMilliseconds(number))
        }
    }

    /// Edits one need, by whoever it was recorded.
    ///
    /// - Parameter milliseconds: When; `nil` is now, for devices that work at full speed.
    func edit(_ record: RecordID, _ number: Int, at milliseconds: Int64? = nil) -> ChangeGroup {
        group(
            record, creating: nil, workload.edit(number, of: record.number),
            at: milliseconds ?? SystemClocks.now().wallMilliseconds)
    }

    /// Edits needs of its own, from the first to the last of them at equal distances.
    ///
    /// - Parameters:
    ///   - atOnce: All now; else as a person does, some minutes apart until now.
    ///   - mixed: Of all fields, as often as other edits; else of an urgency and one field more.
    func edit(own count: Int, atOnce: Bool = false, mixed: Bool = false) -> [ChangeGroup] {
        let now = SystemClocks.now().wallMilliseconds
        let times =
            atOnce
            ? Array(repeating: now, count: count) : Workload.editedMilliseconds(count, before: now)
        return times.enumerated().map { index, time in
            // Needs twenty apart have the same field edited first.
            let number = 1 + index * state.needs / count + (mixed ? 2 * index : 0)
            return edit(state.record(UInt64(number)), index, at: time)
        }
    }

    private func group(
        _ record: RecordID, creating kind: Kind?, _ changes: [Change], at milliseconds: Int64
    ) -> ChangeGroup {
        let now = SystemClocks.now()
        // Written in this boot, so many minutes ago.
        let ago = now.wallMilliseconds - milliseconds
        let group = ChangeGroup(
            record: record, createdKind: kind?.rawValue, firstCounter: state.nextCounter,
            changes: changes, base: state.cursor,
            written: ClockReading(
                wallMilliseconds: milliseconds, boot: now.boot,
                elapsedMilliseconds: now.elapsedMilliseconds - ago))
        state.nextCounter = group.nextCounter
        chains[group.firstCounter] = state.chain
        state.chain.append(group)
        return group
    }

    // MARK: Sending

    func request(
        _ groups: [ChangeGroup], pageBytes: Int = Limits.pageBytesMax
    ) -> SyncRequest {
        SyncRequest(
            attempt: UInt32.random(in: 1...UInt32.max, using: &chance), replica: state.replica,
            nextCounter: state.nextCounter, cursor: state.cursor, scope: state.scope,
            clocks: SystemClocks.now(), resume: resume, pageBytes: pageBytes, groups: groups,
            chain: groups.first.flatMap { chains[$0.firstCounter] }, ancestors: [])
    }

    /// - Throws: ``BenchError`` when the hub did not take all of it: the workload is lawful.
    func checkSettled(_ answer: SyncAnswer, groups: [ChangeGroup]) throws {
        if let outcomes = answer.outcomes {
            if let refusal = outcomes.refusals.first {
                throw BenchError("refused: \(refusal.reason)")
            }
            guard outcomes.forkCounter == nil, outcomes.expectedCounter == nil else {
                throw BenchError("the hub does not go on where device \(state.index) is")
            }
        }
        if let last = groups.last, answer.outcomes?.settledCounter != last.nextCounter {
            throw BenchError("not all that was sent was settled")
        }
    }

    /// Takes in an answer.
    ///
    /// - Returns: Whether the pull is complete.
    @discardableResult
    func absorb(_ answer: SyncAnswer, groups: [ChangeGroup]) throws -> Bool {
        try checkSettled(answer, groups: groups)
        if let assignment = answer.assignment { assignedScope = assignment.scope.id }
        guard let page = answer.page else { return true }
        resume = page.resume
        guard let cursor = page.cursor else { return false }
        state.cursor = cursor
        if let assignedScope { state.scope = assignedScope }
        assignedScope = nil
        return true
    }

    /// Sends everything and pulls everything, in the batches that a real device would choose on a
    /// fast link.
    ///
    /// - Parameter groupsMax: Of one batch, beside its bytes.
    func sync(_ groups: [ChangeGroup], over link: Link) throws {
        var session = DeviceSession()
        var rest = groups[...]
        var directives = session.step(.begin)
        while case .exchange(let batchBytesMax, let pageBytesMax)? = directives.first {
            let batch = Array(Self.batch(rest, bytesMax: batchBytesMax))
            rest = rest.dropFirst(batch.count)
            let request = request(batch, pageBytes: pageBytesMax)
            let isComplete = try absorb(try link.exchange(request, self), groups: batch)
            directives = session.step(
                .absorbed(
                    .init(
                        pullComplete: isComplete, groupsWait: !rest.isEmpty, progressed: true,
                        elapsedMilliseconds: 0)))
        }
        guard directives == [.finish(.complete)] else { throw BenchError("a sync gave up") }
    }

    /// Sends these groups as one frame, and takes the least page that there is: the pull goes on
    /// with the next request. For filling ledgers, where nobody reads the pages.
    func admit(_ groups: [ChangeGroup], over link: Link) throws {
        let request = request(groups, pageBytes: Limits.pageBytesMin)
        try absorb(try link.exchange(request, self), groups: groups)
    }

    /// Sends these groups as one frame, and pulls everything.
    func send(_ groups: [ChangeGroup], over link: Link) throws {
        var groups = groups
        var pages = 0
        while try !absorb(link.exchange(request(groups), self), groups: groups) {
            groups = []
            pages += 1
            guard pages < 10_000 else { throw BenchError("a pull does not end") }
        }
    }

    /// As the journal counts: 12 bytes a group and 3 a change beside the values.
    private static func batch(
        _ groups: ArraySlice<ChangeGroup>, bytesMax: Int
    ) -> ArraySlice<ChangeGroup> {
        var bytes = 0
        var changes = 0
        var count = 0
        for group in groups {
            bytes += group.changes.reduce(12) { $0 + 3 + ($1.value?.count ?? 0) }
            changes += group.changes.count
            if count > 0, bytes > bytesMax || changes > Limits.changesPerBatchMax { break }
            count += 1
        }
        return groups.prefix(count)
    }
}

/// How requests get to the ledger.
final class Link {
    private enum Way {
        case http(HTTPTransport)
        case inProcess(Ledger)
    }

    private let way: Way
    /// Whether what comes now is of the figure, and not set up for it or another's.
    var isMeasured = false
    /// From the first byte sent to the last received, without making and reading the frames.
    private(set) var waitedNanoseconds: Int64 = 0
    private(set) var roundTrips = 0
    /// HTTP with headers.
    private(set) var bytesUp = 0
    private(set) var bytesDown = 0
    /// The frames in it.
    private(set) var frameBytesUp = 0
    private(set) var frameBytesDown = 0

    /// Over loopback, with the device's own libcurl.
    init(url: String) throws {
        way = .http(try HTTPTransport(settings: .init(baseURL: url)))
    }

    /// All of it but HTTP: frames are made and read on both sides.
    init(_ ledger: Ledger) { way = .inProcess(ledger) }

    func exchange(_ request: SyncRequest, _ device: WireDevice) throws -> SyncAnswer {
        let frame = try Frame.encode(
            request.encoded(), usesDictionary: true, namesDictionary: true, borders: .request)
        return try SyncAnswer(
            decoding: Frame.decode(try post(frame, of: device.state)).message, for: request)
    }

    /// Sends a frame that was made before.
    func post(_ frame: [UInt8], of device: DeviceState) throws -> [UInt8] {
        let began = monotonicNanoseconds()
        defer { waitedNanoseconds += monotonicNanoseconds() - began }
        roundTrips += 1
        frameBytesUp += frame.count
        switch way {
        case .http(let transport):
            let response = try transport.post(
                path: "/v1/sync", contentType: Frame.mediaType, token: device.token, body: frame)
            bytesUp += response.bytesSent
            bytesDown += response.bytesReceived
            guard response.status == 200 else {
                throw BenchError("the server answered \(response.status)")
            }
            frameBytesDown += response.body.count
            return response.body
        case .inProcess(let ledger):
            let body = try (isMeasured ? Self.measuredAnswer : Self.answer)(ledger, frame, device)
            frameBytesDown += body.count
            return body
        }
    }

    /// Callgrind counts what this function does, so it stays one.
    @inline(never)
    private static func measuredAnswer(
        _ ledger: Ledger, _ frame: [UInt8], _ device: DeviceState
    ) throws -> [UInt8] {
        try answer(ledger, frame, device)
    }

    /// The hub's side.
    private static func answer(
        _ ledger: Ledger, _ frame: [UInt8], _ device: DeviceState
    ) throws -> [UInt8] {
        let request = try SyncRequest(decoding: Frame.decode(frame).message)
        let answers = try ledger.sync([
            (device: device.device, request: request, frame: frame)
        ]).answers
        guard let answer = answers.first else { throw BenchError("no answer") }
        return try Frame.encode(
            try answer.get().encoded(for: request), usesDictionary: true, borders: .answer)
    }
}

func monotonicNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Small files of text, without Foundation, whose start-up would be in every figure.
enum TextFile {
    static func read(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else { throw BenchError("cannot read \(path)") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func write(_ text: String, to path: String) throws {
        try write(Array(text.utf8), to: path)
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = fopen(path, "w") else { throw BenchError("cannot write \(path)") }
        defer { fclose(file) }
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else {
            throw BenchError("cannot write \(path)")
        }
    }

    /// Bytes of a file and of its write-ahead log.
    static func size(_ path: String) -> Int {
        [path, path + "-wal"].reduce(0) { sum, path in
            var status = stat()
            return sum + (stat(path, &status) == 0 ? Int(status.st_size) : 0)
        }
    }
}
