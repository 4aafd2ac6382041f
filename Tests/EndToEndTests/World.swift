import Foundation
import Glibc
import Synchronization
import Testing

/// Where the two real programs and the data of the demo are.
enum Programs {
    /// Beside the test bundle, as SwiftPM builds them; `WAYSTATION_BIN` names another folder.
    static let folder: String = {
        if let folder = ProcessInfo.processInfo.environment["WAYSTATION_BIN"] { return folder }
        let runner = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        return runner.deletingLastPathComponent().path
    }()

    static let client = folder + "/waystation"
    static let server = folder + "/waystation-server"

    static let repository = URL(filePath: #filePath)
        .resolvingSymlinksInPath().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let demoData = repository.appending(path: "tools/demo-data").path

    /// Whether the long random and crash runs were asked for.
    static let isLong = ProcessInfo.processInfo.environment["WAYSTATION_LONG"] == "1"

    /// What every child gets: no proxy, no authorities and no language of whoever runs the tests.
    static let environment: [String: String] = {
        var result = ["LANG": "C.UTF-8", "TZ": "UTC"]
        // A sanitizer's and a coverage run's settings reach the programs under test as well.
        let kept = ["PATH", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "TSAN_OPTIONS", "LLVM_PROFILE_FILE"]
        for name in kept { result[name] = ProcessInfo.processInfo.environment[name] }
        return result
    }()
}

/// Bounds how many tests with processes of their own run at once, whatever the test runner does:
/// two cores carry few servers.
struct Lane: TestTrait, SuiteTrait, TestScoping {
    let isRecursive = true

    private static let lanes = Mutex(3)

    func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? {
        testCase == nil ? nil : self
    }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        // Waits for as long as the tests before it take; each of them is bounded.
        while !Self.lanes.withLock({ lanes in
            if lanes == 0 { return false }
            lanes -= 1
            return true
        }) {
            try await Task.sleep(for: .milliseconds(5))
        }
        defer { Self.lanes.withLock { $0 += 1 } }
        try await function()
    }
}

extension Trait where Self == Lane {
    static var lane: Self { Lane() }
}

/// Who a device is for.
enum Post: Sendable {
    case worker(String)
    case team(String)
    case office(String)

    /// The village with both grids of its own.
    static let worker = Post.worker("152921100001")
    static let team = Post.team("T01")
    /// The town above the village.
    static let office = Post.office("152921100")

    var arguments: [String] {
        switch self {
        case .worker(let code): ["--role", "worker", "--territory", code]
        case .team(let code): ["--role", "team", "--team", code]
        case .office(let code): ["--role", "office", "--territory", code]
        }
    }
}

/// One test's banner: a folder, a ledger with the demo's reference data, a server, devices.
final class World: Sendable {
    let folder: String
    private let state = Mutex(State())

    private struct State {
        var server: Child?
        var url = ""
    }

    /// The files of a ledger with the demo's data, made once for all tests.
    private static let template = Task { () throws -> [String: Data] in
        let folder = try makeFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var commands = [["init", "--banner", "152921", "--name", "青草旗"]]
        for table in ["territory", "teams", "categories", "routes"] {
            commands.append(["import", table, "\(Programs.demoData)/\(table).csv"])
        }
        for command in commands {
            let arguments = [Programs.server] + command + ["--ledger", folder + "/ledger.sqlite"]
            let outcome = try await Child(
                arguments, environment: Programs.environment, folder: folder
            ).end()
            guard outcome.code == 0 else { throw Surprise(outcome.description) }
        }
        var files: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder)
        where name.hasPrefix("ledger.") {
            files[name] = try Data(contentsOf: URL(filePath: folder + "/" + name))
        }
        return files
    }

    private static func makeFolder() throws -> String {
        let folder = FileManager.default.temporaryDirectory.path + "/waystation-e2e-\(UUID())"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        return folder
    }

    /// - Parameter serving: Whether the server runs from the start.
    init(serving: Bool = true) async throws {
        folder = try Self.makeFolder()
        for (name, content) in try await Self.template.value {
            try content.write(to: URL(filePath: folder + "/" + name))
        }
        if serving { try await serve() }
    }

    deinit {
        // Child's own deinit kills it, before its files go.
        state.withLock { $0.server = nil }
        try? FileManager.default.removeItem(atPath: folder)
    }

    var ledger: String { folder + "/ledger.sqlite" }

    /// The address of the running, or last, server.
    var url: String { state.withLock { $0.url } }
    var port: Int { Int(url.split(separator: ":").last ?? "") ?? 0 }
    var serverLog: String { state.withLock { $0.server }?.stderr ?? "" }

    // MARK: Programs

    /// Starts any program in the world's folder.
    func start(
        _ arguments: [String], environment: [String: String] = [:],
        streams: Streams = .files()
    ) throws -> Child {
        try Child(
            arguments,
            environment: Programs.environment.merging(["HOME": folder]) { $1 }
                .merging(environment) { $1 },
            folder: folder, streams: streams)
    }

    /// Runs a command of the server's program on this ledger.
    ///
    /// - Parameter code: How it must end.
    @discardableResult
    func admin(
        _ arguments: String..., exits code: Int = 0, clock: String? = nil
    ) async throws -> Outcome {
        try await start(
            Self.faked(clock) + [Programs.server] + arguments + ["--ledger", ledger],
            environment: Self.clockEnvironment
        ).end().expect(code)
    }

    /// Dispatches a need to the first team so that its due date has passed: ten days ago, by an
    /// operator who lived a month ago.
    func dispatchOverdue(_ id: String) async throws {
        let due = Date(timeIntervalSinceNow: -10 * 86_400).formatted(.iso8601.year().month().day())
        try await admin("dispatch", id, "--team", "T01", "--due", due, clock: "-30d")
    }

    /// The wrapper of libfaketime: a clock that starts at, or is moved by, what is given.
    ///
    /// Preloading the library by hand would make it change the environment before `main`, after
    /// which Swift finds no command line.
    static func faked(_ clock: String?) -> [String] {
        clock.map { ["faketime", "-f", $0] } ?? []
    }

    /// Without it libfaketime moves the time since boot as well, which no wrong clock does.
    static let clockEnvironment = ["FAKETIME_DONT_FAKE_MONOTONIC": "1"]

    // MARK: The server

    /// Starts the server and waits until it listens.
    ///
    /// - Parameters:
    ///   - port: 0 for any.
    ///   - wrapper: What stands before the program on the command line.
    func serve(
        port: Int = 0, tls: Certificate? = nil, wrapper: [String] = []
    ) async throws {
        var command = wrapper + [Programs.server, "serve", "--ledger", ledger]
        command += ["--listen", "127.0.0.1:\(port)"]
        if let tls { command += ["--tls-certificate", tls.path, "--tls-key", tls.keyPath] }
        var server = try start(command, environment: Self.clockEnvironment)
        var url = ""
        try await eventually("the server to listen") {
            let log = server.stderr
            if let found = log.firstMatch(of: /listening on (https?:\/\/127\.0\.0\.1:\d+)\n/) {
                url = String(found.1)
                return true
            }
            guard server.hasEnded else { return false }
            guard port != 0, log.contains("Address already in use") else {
                throw Surprise("the server ended: \(log)")
            }
            // Its former port may be lent to somebody else's connection for a while.
            server = try start(command, environment: Self.clockEnvironment)
            return false
        }
        let (running, address) = (server, url)
        state.withLock { $0 = State(server: running, url: address) }
    }

    /// Stops the server as an operator does.
    @discardableResult
    func stop(with signal: Int32 = SIGTERM) async throws -> Outcome {
        guard let server = state.withLock({ $0.server }) else { throw Surprise("no server") }
        server.signal(signal)
        return try await server.end().expect(0)
    }

    /// Ends the server as a power cut does.
    func killServer() async throws {
        guard let server = state.withLock({ $0.server }) else { throw Surprise("no server") }
        server.signal(SIGKILL)
        _ = try await server.end()
    }

    /// Sends the server a signal, unless it has ended.
    func signalServer(_ number: Int32) { state.withLock { $0.server }?.signal(number) }

    var isServing: Bool { state.withLock { $0.server }.map { !$0.hasEnded } ?? false }

    /// Starts the server again where the devices expect it.
    func restart(tls: Certificate? = nil) async throws { try await serve(port: port, tls: tls) }

    // MARK: Devices

    /// Makes a one-use code.
    func invite(_ post: Post, name: String, clock: String? = nil) async throws -> String {
        let command =
            Self.faked(clock) + [Programs.server, "invite"] + post.arguments
            + ["--name", name, "--ledger", ledger]
        let outcome = try await start(command, environment: Self.clockEnvironment)
            .end().expect(0)
        guard let code = outcome.lines.last else { throw Surprise("no code") }
        return code
    }

    /// A device that is not enrolled yet.
    ///
    /// - Parameter clock: What its clock shows, as libfaketime takes it; `nil` for the right time.
    func device(_ name: String, clock: String? = nil) -> Device {
        Device(world: self, name: name, home: folder + "/" + name, clock: clock)
    }

    /// A device that is.
    func enrolled(_ name: String, _ post: Post, clock: String? = nil) async throws -> Device {
        let device = device(name, clock: clock)
        try await device.enroll(url, invite(post, name: name))
        return device
    }

    /// The ledger's needs as the operator sees them.
    func needs() async throws -> [JSON] {
        try await admin("need", "list", "--json").json().elements
    }

    /// Fails the test unless the ledger is sound.
    func check() async throws { try await admin("check") }
}

extension Outcome {
    /// - Throws: ``Surprise`` with everything that was said, unless the program ended so.
    @discardableResult
    func expect(_ code: Int) throws -> Outcome {
        guard self.code == code else {
            throw Surprise("ended with \(self.code) instead of \(code):\n\(self)")
        }
        return self
    }
}

/// One person's machine: a folder of its own, and perhaps a wrong clock.
struct Device: Sendable {
    let world: World
    let name: String
    let home: String
    var clock: String?

    /// Starts a command of the terminal client.
    ///
    /// - Parameter wrapper: What stands before the program on the command line.
    func start(
        _ arguments: [String], environment: [String: String] = [:],
        streams: Streams = .files(), wrapper: [String] = []
    ) throws -> Child {
        try world.start(
            wrapper + World.faked(clock) + [Programs.client] + arguments,
            environment: World.clockEnvironment.merging(["WAYSTATION_HOME": home]) { $1 }
                .merging(environment) { $1 },
            streams: streams)
    }

    /// Runs a command of the terminal client.
    ///
    /// - Parameter code: How it must end.
    @discardableResult
    func run(
        _ arguments: String..., exits code: Int = 0, environment: [String: String] = [:],
        wrapper: [String] = []
    ) async throws -> Outcome {
        try await start(arguments, environment: environment, wrapper: wrapper)
            .end().expect(code)
    }

    @discardableResult
    func enroll(_ url: String, _ code: String, exits exit: Int = 0) async throws -> Outcome {
        try await run("enroll", url, code, exits: exit)
    }

    @discardableResult
    func sync(exits code: Int = 0) async throws -> Outcome {
        try await run("sync", exits: code)
    }

    /// Records a need in the first grid of the demo's village.
    ///
    /// - Returns: Its id.
    func add(_ text: String, _ more: String..., grid: String = "152921100001001") async throws
        -> String
    {
        let command = ["need", "add", text, "--grid", grid, "--json"] + more
        let outcome = try await start(command).end().expect(0)
        guard let id = try outcome.json()["id"].text else { throw Surprise("\(outcome)") }
        return id
    }

    /// One need as this device shows it.
    func need(_ id: String) async throws -> JSON {
        try await run("need", "show", id, "--json").json()
    }

    func status(of id: String) async throws -> String? { try await need(id)["status"].text }

    func needs(_ filters: String...) async throws -> [JSON] {
        try await start(["need", "list", "--json"] + filters).end().expect(0)
            .json()["needs"].elements
    }

    func jobs() async throws -> [JSON] {
        try await run("job", "list", "--json").json()["jobs"].elements
    }

    func conflicts() async throws -> [JSON] {
        try await run("conflict", "list", "--json").json()["conflicts"].elements
    }

    func refused() async throws -> [JSON] {
        try await run("refused", "list", "--json").json()["refused"].elements
    }

    /// What `status --json` says.
    func state() async throws -> JSON { try await run("status", "--json").json() }

    /// Commands that are not yet sent.
    func waiting() async throws -> Int? { try await state()["waiting_commands"].integer }
}

/// Writes a file as a person would save it.
func write(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(filePath: path))
}
