import Glibc
import HubLedger
import NeedModel
import SyncCore
import Synchronization
import WireFormat

@testable import HubServer

/// A real server on a real ledger in a directory of its own, on a free port of this machine.
final class TestHub: Sendable {
    let directory: String
    let ledgerPath: String
    let port: Int
    private let application: HubApplication
    private let running: Task<Void, any Error>
    /// Milliseconds that the server's clock is ahead of the machine's.
    let ahead: Clock

    final class Clock: Sendable {
        private let milliseconds = Atomic<Int64>(0)
        func advance(_ by: Int64) { milliseconds.wrappingAdd(by, ordering: .relaxed) }
        func now() -> Int64 { wallMilliseconds() + milliseconds.load(ordering: .relaxed) }
    }

    static let grid = "152921100001001"

    private init(
        directory: String, port: Int, application: HubApplication,
        running: Task<Void, any Error>, ahead: Clock
    ) {
        self.directory = directory
        ledgerPath = directory + "/ledger"
        self.port = port
        self.application = application
        self.running = running
        self.ahead = ahead
    }

    /// Runs a test against a hub with a banner, a grid and a team, and stops it afterwards.
    ///
    /// - Parameter stillMax: After how long it closes a connection on which nothing moves.
    static func with(
        stillMax: Duration = .seconds(HubLimits.stillSecondsMax),
        _ test: (TestHub) async throws -> Void
    ) async throws {
        let directory = try makeDirectory()
        defer { removeDirectory(directory) }
        let path = directory + "/ledger"
        try makeLedger(at: path)
        let clock = Clock()
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        var options = options(path)
        options.stillMax = stillMax
        let application = try await HubApplication(
            options, clock: { clock.now() }, onListening: { port.yield($0) })
        let running = Task {
            defer { port.finish() }
            try await application.run()
        }
        var iterator = ports.makeAsyncIterator()
        guard let bound = await iterator.next() else {
            try await running.value
            return
        }
        let hub = TestHub(
            directory: directory, port: bound, application: application, running: running,
            ahead: clock)
        do {
            try await test(hub)
        } catch {
            await application.stop()
            try? await running.value
            throw error
        }
        await application.stop()
        try await running.value
    }

    static func options(_ path: String) -> ServeOptions {
        ServeOptions(
            ledgerPath: path, address: ListenAddress(host: "127.0.0.1", port: 0),
            stopsOnSignals: false, logsRequests: false)
    }

    static func makeLedger(at path: String) throws {
        try Ledger.create(
            at: path, banner: "152921", name: "阿拉善左旗", offsetMinutes: 480,
            clock: wallMilliseconds)
        let ledger = try Ledger(opening: path, clock: wallMilliseconds)
        _ = try ledger.importTable(
            .territory,
            csv: """
                code,name,level,parent
                152921,阿拉善左旗,banner,
                152921100,巴彦浩特镇,town,152921
                152921100001,额鲁特社区,village,152921100
                \(grid),第一网格,grid,152921100001
                """)
        _ = try ledger.importTable(.teams, csv: "id,name,territory\nT1,路灯队,152921100\n")
    }

    static func makeDirectory() throws -> String {
        var template = Array("/tmp/waystation-hub-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestClient.Failure.connect(errno) }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    static func removeDirectory(_ path: String) {
        guard let stream = opendir(path) else { return }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            unlink(path + "/" + name)
        }
        closedir(stream)
        rmdir(path)
    }

    func ledger() throws -> Ledger { try Ledger(opening: ledgerPath, clock: wallMilliseconds) }

    func invite(hours: Int64 = 72) throws -> String {
        try ledger().invite(
            role: .worker, territory: Self.grid, team: nil, name: "王小明",
            lifetimeSeconds: hours * 3_600)
    }

    func stop() async { await application.stop() }

    func waitUntilStopped() async throws { try await running.value }

    // MARK: Requests, each on a connection of its own

    func request(
        _ method: String, _ path: String, fields: [(String, String)] = [], body: [UInt8]? = nil
    ) async throws -> TestClient.Answer {
        let port = port
        return try await offPool {
            try TestClient(port: port).request(method, path, fields: fields, body: body)
        }
    }

    func post(
        _ path: String, frame: [UInt8], token: String? = nil
    ) async throws -> TestClient.Answer {
        try await request("POST", path, fields: Self.fields(token: token), body: frame)
    }

    static func fields(token: String?) -> [(String, String)] {
        var fields = [("Content-Type", Frame.mediaType)]
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        return fields
    }

    /// Enrols a new device.
    func enrol(replica: ReplicaID = .none) async throws -> EnrollAnswer {
        let request = EnrollRequest(code: try invite(), replica: replica)
        let answer = try await post(
            "/v1/enroll", frame: Frame.encode(request.encoded(), usesDictionary: true))
        return try EnrollAnswer(decoding: Frame.decode(answer.body).message)
    }
}

/// A device that only knows how to record needs.
struct TestDevice {
    let token: String
    let replica: ReplicaID
    private var counter: UInt64 = 1
    private var records: UInt64 = 1
    private var chain = HashChain.empty

    init(token: String, replica: UInt64) {
        self.token = token
        self.replica = ReplicaID(truncating: replica)
    }

    private static let clocks = ClockReading(
        wallMilliseconds: 1_795_269_784_123, boot: 7, elapsedMilliseconds: 60_000)

    /// A request that brings one new need, and asks for a page.
    mutating func recordingNeed(_ text: String) -> (request: SyncRequest, need: RecordID) {
        let need = RecordID(
            milliseconds: Self.clocks.wallMilliseconds, replica: replica, number: records)
        let group = ChangeGroup(
            record: need, createdKind: Kind.need.rawValue, firstCounter: counter,
            changes: [
                Change(field: NeedField.text.rawValue, value: FieldValue.text(text).bytes),
                Change(field: NeedField.grid.rawValue, value: FieldValue.text(TestHub.grid).bytes),
            ], base: .origin, written: Self.clocks)
        counter = group.nextCounter
        records += 1
        let request = request(groups: [group])
        chain.append(group)
        return (request, need)
    }

    func request(groups: [ChangeGroup] = []) -> SyncRequest {
        SyncRequest(
            attempt: 1, replica: replica, nextCounter: counter, cursor: .origin, scope: 0,
            clocks: Self.clocks, resume: [], pageBytes: Limits.pageBytesStart, groups: groups,
            chain: groups.isEmpty ? nil : chain, ancestors: [])
    }
}
